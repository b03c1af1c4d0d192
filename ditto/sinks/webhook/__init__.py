"""A receiver that gets the events by HTTP POST."""
