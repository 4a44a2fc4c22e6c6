"""OpenAI's dialect: what its routes read and how they answer."""
