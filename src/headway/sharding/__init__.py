"""Who takes which part, and in which order: pure functions, no I/O."""
