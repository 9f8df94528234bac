"""The config of a run: typed, checked, read from and written to TOML."""
