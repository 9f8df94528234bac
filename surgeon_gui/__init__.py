"""The desktop application: it sees the engine by its contract modules alone."""
