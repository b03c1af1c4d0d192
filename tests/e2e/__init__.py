"""The whole way, from a committed change to a stored event: real servers, the real process, and faults."""
