"""The page New: a model, how small it becomes, and the start of a run."""
