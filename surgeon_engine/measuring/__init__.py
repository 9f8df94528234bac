"""Models in, their speed and their memory on this machine out."""
