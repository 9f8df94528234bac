"""Commands to the engine and events from it, sent as lines of JSON."""
