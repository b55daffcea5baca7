"""What came from what: digests, traces, edges, and why work ran again."""
