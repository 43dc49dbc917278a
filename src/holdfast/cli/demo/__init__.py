"""`holdfast demo`: a shop under load, and proof at the end that its counters tell the truth."""
