"""Seconds a denoising step, memory and arithmetic rate of the diffusion models with random weights.

One command measures all that fits the machine, each case in processes of its own, and prints a Markdown table:

    python scripts/bench_mmvdm.py --gpus 1 2 4
    python scripts/bench_mmvdm.py --cpu
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from avatarcli.diffusion.packing import PIXELS_PER_LATENT, latent_count
from avatarcli.diffusion.parallel import SequenceGroup, launch
from avatarcli.diffusion.transformer import CONDITIONING_CHANNELS, MultiViewVideoTransformer

CEILING = 790.0  # TFLOP/s that large bfloat16 products reach on an H200
LARGE: dict[str, Any] = {
    "num_attention_heads": 30, "num_layers": 30, "time_embed_dim": 512, "positions": "absolute",
    "shared_modulation": False, "text_tokens": 226,
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One row of the table. train: forward and backward of a batch of `batch` samples instead of a step."""

    model: str
    size: int
    views: int
    frames: int
    train: bool = False
    batch: int = 1

    @property
    def latents(self) -> int:
        return 1 + self.views * latent_count(self.frames)


CASES = (
    Case("mini", 256, 8, 9),
    Case("mini", 256, 24, 49),
    Case("2b", 512, 4, 25),
    Case("2b", 512, 8, 49),
    Case("mini", 256, 6, 1, train=True, batch=32),
    Case("mini", 256, 8, 9, train=True, batch=8),
)


def tera_operations(model: MultiViewVideoTransformer, case: Case) -> float:
    """10¹² multiplications and additions of a forward pass: 2 a weight and token, and 4 a channel and pair of tokens."""
    config = model.config
    width = config.num_attention_heads * config.attention_head_dim
    tokens = case.latents * (case.size // PIXELS_PER_LATENT // config.patch_size) ** 2 + config.text_tokens
    weights = sum(
        p.numel() for block in model.transformer_blocks for name, p in block.named_parameters() if "norm" not in name
    )
    return float(case.batch * (2 * weights * tokens + 4 * config.num_layers * width * tokens**2) / 1e12)


def measure(group: SequenceGroup | None, device: str, case: Case, steps: int, compiled: bool, out: Path) -> None:
    """Run one case; the first process writes its figures to the file `out`."""
    cuda = device != "cpu"
    torch.manual_seed(0)
    with torch.device(device):
        model = MultiViewVideoTransformer(**(LARGE if case.model == "2b" else {}))
    dtype = torch.bfloat16 if cuda else torch.float32
    if not case.train:
        # As nn.Module: diffusers' own `to` warns of layers to keep in float32, of which there are none.
        torch.nn.Module.to(model, dtype).eval()
    model.sequence_group = group
    if compiled:
        for block in model.transformer_blocks:
            block.compile()
    side = case.size // PIXELS_PER_LATENT
    shape = (case.batch, case.latents)
    latents = torch.randn(*shape, 16, side, side, device=device)
    conditioning = torch.randn(*shape, CONDITIONING_CHANNELS, side, side, device=device)
    given = torch.arange(case.latents, device=device).expand(shape) < 1
    timestep = torch.where(given, 0, 500)
    times = torch.tensor([0, *list(range(latent_count(case.frames))) * case.views], device=device)

    def step() -> None:
        if case.train:
            with torch.autocast(device.split(":")[0], dtype=torch.bfloat16, enabled=cuda):
                loss = model(latents, timestep, times, given, conditioning).float().square().mean()
            loss.backward()
            model.zero_grad(set_to_none=True)
        else:
            with torch.inference_mode():
                model(latents.to(dtype), timestep, times, given, conditioning.to(dtype))

    seconds = []
    for _ in range(steps + (3 if cuda else 1)):
        if cuda:
            torch.cuda.synchronize()
        start = time.perf_counter()
        step()
        if cuda:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    best = sorted(seconds[-steps:])[steps // 2]
    if group is None or group.rank == 0:
        memory = torch.cuda.max_memory_allocated() / 2**30 if cuda else 0.0
        work = tera_operations(model, case) * (3 if case.train else 1)
        out.write_text(json.dumps({"seconds": best, "gib": memory, "tflops": work / best}))


def row(case: Case, gpus: int, figures: dict[str, float] | str) -> str:
    kind = f"train, batch {case.batch}" if case.train else "step"
    name = f"| {case.model} | {kind} | {case.size}² | {case.views} × {case.frames} | {gpus or 'CPU'} |"
    if isinstance(figures, str):
        return f"{name} {figures} | | | |"
    rate = figures["tflops"] / max(gpus, 1)
    share = f"{100 * rate / CEILING:.0f} %" if gpus else ""
    samples = f", {case.batch / figures['seconds']:.1f} samples/s" if case.train else ""
    return f"{name} {figures['seconds']:.3f} s{samples} | {figures['gib']:.1f} GiB | {rate:.2f} | {share} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--gpus", type=int, nargs="+", default=[1], help="how many GPUs share a sequence; several to compare"
    )
    parser.add_argument("--cpu", action="store_true", help="the smallest case on the CPU only")
    parser.add_argument("--steps", type=int, default=5, help="measured steps; the median counts")
    parser.add_argument("--compile", action="store_true", help="compile the blocks")
    parser.add_argument("--only", choices=["mini", "2b"], help="one of the models")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args()
    results: list[dict[str, Any]] = []
    print("| model | what | size | views × frames | GPUs | seconds | memory a GPU | TFLOP/s a GPU | of 790 |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    for case in CASES[:1] if arguments.cpu else CASES:
        if arguments.only not in (None, case.model):
            continue
        for gpus in [0] if arguments.cpu else [n for n in arguments.gpus if n == 1 or not case.train]:
            with tempfile.TemporaryDirectory() as folder:
                out = Path(folder) / "figures.json"
                try:
                    if gpus:
                        launch(gpus, measure, case, arguments.steps, arguments.compile, out)
                    else:
                        measure(None, "cpu", case, arguments.steps, arguments.compile, out)
                    figures: dict[str, float] | str = json.loads(out.read_text())
                except Exception as error:  # a case that does not fit must not end the others
                    figures = (
                        "out of memory" if "out of memory" in str(error) else f"failed: {str(error).splitlines()[-1]}"
                    )
            print(row(case, gpus, figures), flush=True)
            results.append({"case": asdict(case), "gpus": gpus, "figures": figures})
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
