"""Run the user's transform over shards; a dataset comes out."""
