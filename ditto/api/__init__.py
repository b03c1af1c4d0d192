"""The HTTP server of a running Ditto: probes, metrics, status."""
