"""What everything rests on: files, locks, child processes, errors; no torch."""
