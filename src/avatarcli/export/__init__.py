"""Files that other programs open, and the marks of origin that they bear."""
