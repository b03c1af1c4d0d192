"""From nothing to a running pipeline: configuration, permissions, checks and hints."""
