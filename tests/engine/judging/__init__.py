"""Judging a file against its original."""
