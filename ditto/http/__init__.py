"""HTTP: health, readiness, metrics and status of a running Ditto. Imported only where `http.listen` is given."""
