"""Read facts about a model from its config and file headers."""
