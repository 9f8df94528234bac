"""The dock that lists runs."""
