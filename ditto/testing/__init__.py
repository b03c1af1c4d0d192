"""Servers for the tests, the benchmarks and the demo."""
