"""The decoder in plain Python: the fallback, and the oracle of the tests."""
