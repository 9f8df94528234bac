"""Compute costs from Kronecker factors, select and remove weights."""
