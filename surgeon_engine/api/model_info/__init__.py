"""Facts about a model, read from its config and file headers alone."""
