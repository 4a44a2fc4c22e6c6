"""How does each family of models write tool calls and reasoning? A file per family."""
