"""What helps a person along: commands and keys, About, first steps, a debug bundle."""
