"""The reprojected person: the photo carried around the fitted head, and what it does not show filled in."""
