"""PostgreSQL: the connections, the slot and the publication. Knows nothing of NATS."""
