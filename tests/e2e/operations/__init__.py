"""What operators see and use."""
