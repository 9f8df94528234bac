"""Data files of Surgeon, installed as `surgeon_resources`; no code."""
