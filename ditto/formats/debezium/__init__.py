"""Debezium's change events, as its PostgreSQL connector 3.x writes them in JSON with its default settings."""
