"""Parts of `scripts/build_head_model.py`: from `anny` body samples to `weights/head/head.safetensors`."""
