"""Who owns what: leases, the shards of each runner and how they move, the way to their owners."""
