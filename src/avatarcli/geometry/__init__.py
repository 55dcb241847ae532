"""Cameras, rotations and mesh rasterising. Imports nothing above it."""
