"""Layers that carry a state along a sequence instead of attending to what came before."""
