"""Prunes a model by a list of jobs and writes what came of it as tables."""
