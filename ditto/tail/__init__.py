"""The stream as people read it: `follow` gets the events through an ordered consumer, `show` writes them."""
