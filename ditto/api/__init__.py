"""What a running Ditto answers over HTTP."""
