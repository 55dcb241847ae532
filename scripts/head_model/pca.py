"""Identity components: principal components of sampled heads under a weighted squared error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from head_model.packing import Float

# Extra directions and power iterations of the randomised decomposition (Halko, Martinsson and Tropp 2011).
OVERSAMPLING = 40
POWER_ITERATIONS = 6
# A joint counts as much as a patch of neck: seven points beside thousands of vertices would otherwise not be heard.
JOINT_WEIGHT = 10.0


@dataclass(frozen=True)
class Identity:
    """A linear model of neutral heads; coefficients have unit variance over the samples."""

    mean: Float  # [N, 3]
    basis: Float  # [K, N, 3]
    joint_mean: Float  # [J, 3]
    joint_basis: Float  # [K, J, 3]
    explained: Float  # [K], share of the weighted variance


def fit_identity(vertices: Float, joints: Float, weights: Float, components: int, seed: int) -> Identity:
    """Principal components of heads [B, N, 3] with vertex weights [N] and of their joints [B, J, 3] together."""
    count, vertex_count = vertices.shape[:2]
    points = np.concatenate([vertices, joints], axis=1)
    mean = points.mean(axis=0)
    centred = (points - mean).reshape(count, -1)
    weights = np.concatenate([weights, np.full(joints.shape[1], JOINT_WEIGHT, dtype=np.float32)])
    weighted = torch.as_tensor(centred * np.repeat(np.sqrt(weights), 3))
    torch.manual_seed(seed)
    left, singular, _ = torch.svd_lowrank(weighted, q=components + OVERSAMPLING, niter=POWER_ITERATIONS)
    # Coefficients of the samples, of unit variance and uncorrelated, so regressing on them is a mean of products.
    scores = left[:, :components].numpy() * np.sqrt(count - 1)
    basis = scores.T @ centred / (count - 1)
    # A component and its negative are the same; choose the one whose largest entry is positive.
    peak = np.abs(basis).argmax(axis=1)
    sign = np.sign(basis[np.arange(components), peak])[:, None]
    basis = (basis * sign).reshape(components, -1, 3).astype(np.float32)
    explained = singular[:components].square() / weighted.square().sum()
    return Identity(
        mean=mean[:vertex_count],
        basis=basis[:, :vertex_count],
        joint_mean=mean[vertex_count:],
        joint_basis=basis[:, vertex_count:],
        explained=explained.numpy(),
    )
