"""Checkpoints that were quantised before: a file for each method, and what they have in common."""
