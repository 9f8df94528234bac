"""The layers of a model."""
