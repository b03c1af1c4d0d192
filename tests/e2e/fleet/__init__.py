"""A fleet of `ditto serve`, on real servers."""
