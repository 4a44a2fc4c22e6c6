"""What makes tiny-chat: its facts, its conversations, its tokenizer, its training."""
