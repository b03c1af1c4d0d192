"""Streams of RabbitMQ."""
