"""Kronecker factors in, fewer weights out."""
