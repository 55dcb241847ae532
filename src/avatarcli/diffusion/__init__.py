"""MMVDM, the morphable multi-view video diffusion model: conditioning, autoencoder, transformer, sampling."""
