"""What does a server, an engine, a start cost? Measurements to run from a shell or from Python."""
