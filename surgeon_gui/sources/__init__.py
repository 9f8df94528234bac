"""Models and texts as a person gives them: found, asked about, downloaded."""
