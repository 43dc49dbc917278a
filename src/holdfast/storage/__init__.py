"""Stores: SQLite (embedded), PostgreSQL, and memory (reference and simulation), opened by URL with `open`."""
