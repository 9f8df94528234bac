"""Models and texts as the user names them."""
