"""The result of a run: what was made, its quality, size and speed."""
