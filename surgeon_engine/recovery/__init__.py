"""Recover quality after weights were removed."""
