"""How are tool calls and reasoning read out of a text, and how is a model held to write them?"""
