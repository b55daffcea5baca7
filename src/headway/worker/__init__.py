"""What runs beside the user's program: standard library only, nothing of ours, can be shipped alone."""
