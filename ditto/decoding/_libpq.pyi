IS_DIRECT: bool
"""libpq's functions are called directly; False where psycopg is plain Python."""
