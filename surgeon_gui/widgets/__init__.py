"""Reusable widgets that do not depend on the state of the application."""
