"""Score on the test channel, compare, gate."""
