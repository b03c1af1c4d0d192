"""Configurations of other tools."""
