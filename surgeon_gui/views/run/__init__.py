"""The page of one run: in progress, or what it has made."""
