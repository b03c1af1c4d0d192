"""The demonstration: embedded servers, a trading workload, and what the terminal shows of it."""
