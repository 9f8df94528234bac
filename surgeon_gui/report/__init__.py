"""The report of a run, for people to read, print and pass on."""
