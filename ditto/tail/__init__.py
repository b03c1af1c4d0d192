"""What is stored, as people read it: `choose` says which events, `show` writes them."""
