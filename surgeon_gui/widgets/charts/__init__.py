"""Charts, their cards and legends."""
