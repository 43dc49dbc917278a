"""Holdfast: sharded entities, durable jobs and truthful metrics for Python services."""
