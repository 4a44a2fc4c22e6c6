"""The model folder that ships with jaxserve."""
