"""One round of measuring, choosing, removing and adapting."""
