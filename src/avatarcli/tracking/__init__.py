"""The tracker: fits the head model to photos and videos."""
