"""What a model is: save, load, predict, per framework."""
