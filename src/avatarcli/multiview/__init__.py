"""The multi-view video: which pictures there are to be, how a bust is framed, and the pictures on disk."""
