"""One file a model; each overrides the one seam that makes it what it is."""
