"""The interface of the engine: everything that the window may import."""
