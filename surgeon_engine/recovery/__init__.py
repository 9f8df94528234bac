"""Win quality back after weights have been removed."""
