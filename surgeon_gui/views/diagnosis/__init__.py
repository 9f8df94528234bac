"""The maps of a diagnosis."""
