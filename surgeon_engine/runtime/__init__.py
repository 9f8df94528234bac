"""The environment of a run: device, linear algebra, progress, versions."""
