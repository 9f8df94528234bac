"""Calibration windows in, Kronecker factors out."""
