"""What Ditto costs, measured: see docs/performance.md."""
