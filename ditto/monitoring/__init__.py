"""Counters, latency, state, metrics and status of pipelines, and their exporters."""
