"""The dialog about disk space."""
