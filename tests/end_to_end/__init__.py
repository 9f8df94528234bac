"""Whole runs with the real engine."""
