"""Stores: SQLite (embedded) and memory (reference and simulation), opened by URL with `open`."""
