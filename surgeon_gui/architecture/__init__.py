"""Every layer before and after, and why it was cut as much as it was."""
