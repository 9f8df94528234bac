"""Texts of the window: labels, choices, numbers, captions."""
