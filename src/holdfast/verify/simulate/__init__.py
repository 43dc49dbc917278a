"""Deterministic simulation: the real engines in a world that is as bad as a seed says, in virtual time."""
