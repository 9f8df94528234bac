"""Charts, their cards and their legends."""
