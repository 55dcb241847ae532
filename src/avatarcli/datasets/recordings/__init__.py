"""Users' own multi-view recordings with calibrated cameras as training samples."""
