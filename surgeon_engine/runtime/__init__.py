"""The environment of a run: devices, linear algebra, progress, versions."""
