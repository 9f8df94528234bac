"""The foundation of both packages: files, locks, child processes, errors; no torch."""
