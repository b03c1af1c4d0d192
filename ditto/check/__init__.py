"""Is everything as it has to be? Looks at both ends and at the configuration, and changes nothing.

A file for each area, each a few functions that look and return findings; `run` puts them together, and `background`
runs them once inside `ditto run`.
"""
