"""Model files: which there are, where they are, how they are fetched, and whether they are whole."""
