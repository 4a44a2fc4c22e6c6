"""What the host's work costs when the device answers at once."""
