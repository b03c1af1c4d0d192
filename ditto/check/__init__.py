"""`ditto check`: looks at PostgreSQL, NATS and the configuration, says what is wrong, and changes nothing.

A file for each area, each a few functions that look and return findings; `run` puts them together, and `background`
runs them once inside `ditto run`.
"""
