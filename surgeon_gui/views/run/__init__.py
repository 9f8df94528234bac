"""The page of one run: its course, its verdict, and what can be done with it."""
