"""Earlier runs, read from their folders."""
