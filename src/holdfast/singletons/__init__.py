"""Singletons: tasks that run on exactly one runner of the cluster, with a state that moves with them."""
