"""Text in, token windows and batches out."""
