"""Models in llama.cpp's file format: weights, config and tokenizer in one file."""
