"""Fit: one machine, gangs, context, checkpoints."""
