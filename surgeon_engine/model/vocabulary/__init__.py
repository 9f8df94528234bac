"""Remove tokens from a model and from its tokenizer."""
