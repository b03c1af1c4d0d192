"""Ditto: every committed PostgreSQL change, once and in order, in a NATS JetStream stream."""

__version__ = "0.1.0"
