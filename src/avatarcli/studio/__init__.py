"""Synthetic multi-view head videos: subjects drawn from a number, rendered in batches, on CPU and CUDA alike."""
