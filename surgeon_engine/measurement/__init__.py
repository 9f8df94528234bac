"""Measure the speed and memory of one or two models."""
