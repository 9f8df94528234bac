"""One page for each step: it shows the state and says what the user wants."""
