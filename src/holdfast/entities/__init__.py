"""The entity engine: one live instance per address, one message at a time, effects that commit together."""
