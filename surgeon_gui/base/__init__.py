"""Foundations of the window: translation, settings, theme, paths, threads."""
