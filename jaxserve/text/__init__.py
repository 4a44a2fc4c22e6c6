"""Text at the edge of the engine: tokenizer, chat templates, detokenizing, stop strings."""
