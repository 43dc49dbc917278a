"""Who owns what: this runner's lease, and whether its event loop still turns."""
