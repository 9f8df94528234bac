"""The place Playground."""
