"""What the window says: numbers, choices, plans and states in sentences."""
