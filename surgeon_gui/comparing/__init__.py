"""Two or more runs side by side: curves, figures, settings."""
