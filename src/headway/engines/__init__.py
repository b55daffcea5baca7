"""Where jobs run: the seam, and the engines of one machine."""
