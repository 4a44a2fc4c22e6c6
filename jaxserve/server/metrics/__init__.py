"""What Prometheus is told: one set of measurements in the vocabularies of three servers."""
