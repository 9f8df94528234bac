"""A run that is at work: its buttons, time, charts and what goes along with it."""
