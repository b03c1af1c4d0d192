"""What the configuration says about each table: which changes pass, where they go, and what describes them."""
