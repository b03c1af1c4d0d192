"""From changes to the bytes that are published, and back."""
