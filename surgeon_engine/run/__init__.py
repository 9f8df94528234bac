"""One run from a config to a verified export, its checks, and the diagnosis."""
