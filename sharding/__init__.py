"""Mesh axes, mesh building and the rules from logical axes to mesh axes."""
