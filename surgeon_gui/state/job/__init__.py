"""The job that is being edited: draft, checks, targets, presets."""
