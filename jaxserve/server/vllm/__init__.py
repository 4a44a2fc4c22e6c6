"""What vLLM's servers answer beside OpenAI's routes: scores, ranks, labels and raw vectors."""
