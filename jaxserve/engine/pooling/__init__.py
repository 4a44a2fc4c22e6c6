"""The engine of models that answer with vectors or labels: whole texts in batches, nothing kept."""
