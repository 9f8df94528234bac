"""The structures: what can be removed from a model, and by which rules."""
