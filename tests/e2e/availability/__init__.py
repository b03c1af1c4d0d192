"""Several Dittos, several servers."""
