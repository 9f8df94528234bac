"""Tests of the page New."""
