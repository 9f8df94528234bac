"""The texts of the playground and how they compare."""
