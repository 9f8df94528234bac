"""Predictions from a diagnosis for any target."""
