"""The reference store: the same contract in dictionaries, for tests and the seeded simulation."""
