"""The history of runs: their folders, read, listed, renamed and opened again."""
