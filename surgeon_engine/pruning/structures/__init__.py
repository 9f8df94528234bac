"""The structures that can be removed."""
