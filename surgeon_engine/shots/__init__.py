"""Prune in shots: each measures, selects, removes, updates and evaluates."""
