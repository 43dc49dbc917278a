"""The embedded store: one SQLite file, one runner, any number of clients."""
