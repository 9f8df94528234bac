"""Read texts and split them into windows of tokens."""
