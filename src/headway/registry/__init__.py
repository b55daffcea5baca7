"""Models' versions, aliases; promote, roll back, load."""
