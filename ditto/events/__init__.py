"""What is published: the event, and what the configuration says about each relation."""
