"""Snapshots: the rows that were in the tables before, stored among the changes while these go on."""
