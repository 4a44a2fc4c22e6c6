"""The families of encoders: how each describes itself in a checkpoint."""
