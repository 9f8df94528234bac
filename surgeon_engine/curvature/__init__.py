"""Measure Kronecker factors on calibration windows."""
