"""Save the report of a run as HTML or PDF."""
