"""One paper, one file. A method calls objectives and a few small modules, and one loop trains any method."""
