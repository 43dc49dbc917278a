"""The shared store: one PostgreSQL database, any number of runners and clients; needs the extra `[postgres]`."""
