"""What work will take and whether it fits: pure functions, no I/O."""
