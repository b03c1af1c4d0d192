"""The process that runs pipelines: signals, heartbeat, systemd."""
