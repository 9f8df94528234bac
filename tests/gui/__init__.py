"""The window, its state and its words."""
