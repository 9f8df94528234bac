"""A pruned model in memory in, a verified checkpoint on disk out."""
