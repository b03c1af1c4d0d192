"""What the commands in this folder run."""
