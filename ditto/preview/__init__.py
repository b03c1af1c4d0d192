"""What a configuration would make of changes and rows: nothing is stored, and nothing is left behind in the server."""
