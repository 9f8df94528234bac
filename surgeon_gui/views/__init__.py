"""The pages and tabs of the window."""
