"""Evaluate a model on text that it was not calibrated on."""
