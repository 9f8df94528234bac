"""Objects that hold state and talk to the engine. QtCore only."""
