"""The state of the window as pure functions and values. No Qt."""
