"""Where events are stored. Knows nothing of PostgreSQL."""
