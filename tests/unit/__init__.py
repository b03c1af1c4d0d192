"""What needs no server: the core, the configuration, the command line."""
