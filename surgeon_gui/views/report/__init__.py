"""Reports of a run as HTML and PDF."""
