"""What is pruned: a language model, its blocks and its prunable layers."""
