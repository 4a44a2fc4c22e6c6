"""Models: one decoder of declared parts, a small file per family, weights from safetensors."""
