"""How near the shipped file comes to `anny` on people whom it was not made from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from head_model.bodies import AnnyHeads, Heads
from head_model.packing import JOINTS, Float, Mask, dense_expressions, dequantise_identity
from head_model.parts import Binding, assemble, expression_targets, weighting
from head_model.topology import Topology

EXPRESSIONS_AT_ONCE = 6
HEAD_SKIN = "head skin without neck and torso"


@dataclass(frozen=True)
class Shipped:
    """The linear model as a reader of the file sees it."""

    mean: Float
    basis: Float
    expressions: Float
    joint_mean: Float
    joint_basis: Float


@dataclass(frozen=True)
class Row:
    """One row of the accuracy table, millimetres."""

    name: str
    mean: float
    p95: float
    p99: float
    largest: float

    def markdown(self) -> str:
        return f"| {self.name} | {self.mean:.2f} | {self.p95:.2f} | {self.p99:.2f} | {self.largest:.2f} |"


def read_shipped(path: Path) -> Shipped:
    """Decode a head model file."""
    t = load_file(path)
    return Shipped(
        mean=t["v_mean"],
        basis=dequantise_identity(t["id_basis"], t["id_scale"], t["part_range"]),
        expressions=dense_expressions(t["expr_index"], t["expr_ptr"], t["expr_delta"], len(t["v_mean"])),
        joint_mean=t["joint_mean"],
        joint_basis=t["joint_basis"].astype(np.float32),
    )


def project(vertices: Float, mean: Float, basis: Float, weights: Float) -> Float:
    """Coefficients [B, K] of heads [B, N, 3] by weighted least squares."""
    root = np.repeat(np.sqrt(weights), 3)
    matrix = (basis.reshape(len(basis), -1) * root).astype(np.float64)
    target = (vertices - mean).reshape(len(vertices), -1) * root
    return np.linalg.solve(matrix @ matrix.T, matrix @ target.T).T.astype(np.float32)


def identity_errors(shipped: Shipped, vertices: Float, weights: Float) -> tuple[Float, Float]:
    """Coefficients [B, K] of heads [B, N, 3] and how far [B, N] each vertex is from its place in the model, metres."""
    coefficients = project(vertices, shipped.mean, shipped.basis, weights)
    model = shipped.mean + np.tensordot(coefficients, shipped.basis, axes=1)
    return coefficients, np.linalg.norm(model - vertices, axis=-1)


def accuracy_table(shipped: Shipped, anny_heads: AnnyHeads, binding: Binding, heads: Heads, seed: int) -> list[Row]:
    """Errors against `anny` on held-out people: identity by region, joints, expressions on the true neutral head."""
    topology = anny_heads.topology
    vertices = assemble(anny_heads, heads, binding)
    coefficients, distance = identity_errors(shipped, vertices, weighting(topology))
    rows = [accuracy_row(f"identity, {name}", distance[:, mask]) for name, mask in report_masks(topology).items()]
    joints = shipped.joint_mean + np.tensordot(coefficients, shipped.joint_basis, axes=1)
    joint_distance = np.linalg.norm(joints - heads.joints, axis=-1)
    rows += [
        accuracy_row(
            "identity, eye and jaw joints", joint_distance[:, [JOINTS.index(j) for j in ("eye_l", "eye_r", "jaw")]]
        ),
        accuracy_row("identity, neck and head joints", joint_distance[:, : JOINTS.index("head") + 1]),
    ]

    rng = np.random.default_rng(seed)
    strengths = np.zeros((len(vertices), len(shipped.expressions)), dtype=np.float32)
    for row in strengths:
        row[rng.choice(len(row), EXPRESSIONS_AT_ONCE, replace=False)] = rng.random(EXPRESSIONS_AT_ONCE)
    truth = expression_targets(anny_heads, heads, strengths)
    ours = vertices + np.tensordot(strengths, shipped.expressions, axes=1)
    from_body = topology.base_index >= 0
    error = np.linalg.norm(ours[:, from_body] - truth, axis=-1)
    masks = report_masks(topology)
    for name in (HEAD_SKIN, "lips", "tongue"):
        rows.append(accuracy_row(f"expression, {name}", error[:, masks[name][from_body]]))
    return rows


def head_skin(topology: Topology) -> Mask:
    """Skin vertices [N] but those of neck and torso; mouth cavity and eye sockets count."""
    skin = np.zeros(len(topology.region), dtype=bool)
    skin[topology.rows("skin")] = True
    return skin & ~topology.region_mask("neck", "torso")


def report_masks(topology: Topology) -> dict[str, Mask]:
    """Vertices [N] of each row of the table."""
    masks = {HEAD_SKIN: head_skin(topology)}
    for name, region in {
        "face": "face", "nose": "nose", "lips": "lip", "eyelids": "eyelid", "ears": "ear", "scalp": "scalp",
        "neck": "neck", "torso": "torso", "eyes": "eye", "teeth": "teeth", "tongue": "tongue",
    }.items():  # fmt: skip
        masks[name] = topology.region_mask(region)
    return masks


def accuracy_row(name: str, metres: Float) -> Row:
    """Summarise distances in metres."""
    mm = metres * 1e3
    p95, p99 = np.quantile(mm, [0.95, 0.99])
    return Row(name, float(mm.mean()), float(p95), float(p99), float(mm.max()))
