"""The contract of `ditto.sinks.base`, and each sink against it."""
