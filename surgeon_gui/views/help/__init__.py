"""The dialogs of the Help menu, and the card of the first start."""
