"""What a pipeline knows of itself, and how others see it."""
