"""Predictions before a run: target size, memory, duration, limits."""
