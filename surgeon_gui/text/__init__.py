"""The words of the window: labels, choices, numbers, captions."""
