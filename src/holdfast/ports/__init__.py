"""Contracts between the engines and their edges, each as narrow as its user, with its guarantees in words."""
