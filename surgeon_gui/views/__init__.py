"""The pages and dialogs of the window."""
