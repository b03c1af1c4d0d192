"""Appends events to a file, or writes them to standard output: one event a line."""
