"""Cameras, rotations, meshes, and pictures with holes. Imports nothing of the heads and people above it."""
