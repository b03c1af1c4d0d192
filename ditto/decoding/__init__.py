"""Messages of the replication connection to changes: what is compiled, its plain-Python twin, and what both make."""
