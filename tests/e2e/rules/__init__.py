"""Rules of tables, against real servers."""
