"""The home page of the runs."""
