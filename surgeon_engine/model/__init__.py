"""Locate, load and inspect models; find their blocks and prunable layers."""
