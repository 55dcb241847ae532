"""People rendered beside the training, encoded once, and drawn many times."""
