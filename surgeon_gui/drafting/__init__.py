"""The job that is being set up: its draft, edits, targets, checks and presets."""
