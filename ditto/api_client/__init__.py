"""The client of a fleet's HTTP API, and what its commands do with it. Imports no server."""
