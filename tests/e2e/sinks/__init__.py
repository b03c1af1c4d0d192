"""Pipelines whose sink is not a stream."""
