"""Item models of Qt for the tables of the window."""
