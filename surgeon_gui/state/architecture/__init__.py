"""Every layer before and after pruning, and the reasons."""
