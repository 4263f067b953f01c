"""One paper, one file. A method calls objectives and a few small modules; the loop trains any method."""
