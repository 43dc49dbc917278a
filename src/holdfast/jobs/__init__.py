"""The job engine: durable background work with priorities, retries, cancellation, a dead-letter queue and replay."""
