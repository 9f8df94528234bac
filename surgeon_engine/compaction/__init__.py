"""Turn a masked model into a smaller one, and back."""
