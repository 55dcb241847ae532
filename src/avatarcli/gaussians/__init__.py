"""The avatar as rigged 3D Gaussians: where they start, how they are fitted, and how they are drawn."""
