"""Tests of the window, its state and its texts."""
