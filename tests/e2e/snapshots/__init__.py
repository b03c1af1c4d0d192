"""Rows that were there before, as READ events among the changes."""
