"""Prune a model by a plan of jobs and write tables of the results."""
