"""What goes wrong at either end, and that nothing is lost by it."""
