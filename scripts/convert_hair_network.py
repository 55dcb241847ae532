"""Take the numbers out of MediaPipe's hair segmentation network and store them for `avatarcli.capture.hair_net`.

`hair_segmentation.tflite` lies in the PyPI wheel `mediapipe` 0.8.10.1 (a zip), under `mediapipe/models/`.

    python scripts/convert_hair_network.py hair_segmentation.tflite weights/mediapipe/hair_segmentation.safetensors

Needs nothing but what MediaPipe brings. Afterwards run scripts/update_weights_manifest.py.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from mediapipe.tasks.metadata import schema_py_generated as model_schema
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from avatarcli.capture.hair_net import HairNetwork


def constants(content: bytes) -> Iterator[NDArray[np.float32]]:
    """Kernels, biases and slopes of a TFLite file's first graph, in the order in which its operators use them."""
    model = model_schema.ModelT.InitFromPackedBuf(content, 0)
    graph = model.subgraphs[0]
    for operator in graph.operators:
        for index in operator.inputs:
            tensor = graph.tensors[index]
            data = model.buffers[tensor.buffer].data
            if data is not None and len(data):
                yield np.frombuffer(bytes(data), np.float32).reshape(tensor.shape)


def for_torch(array: NDArray[np.float32], layer: nn.Module) -> Tensor:
    """A constant in the layout of the torch layer that it belongs to."""
    numbers = torch.from_numpy(array.copy())
    if numbers.dim() == 3:  # slopes [1, 1, C]
        return numbers.flatten()
    if numbers.dim() == 1:
        return numbers
    if isinstance(layer, nn.ConvTranspose2d):  # [out, h, w, in]
        return numbers.permute(3, 0, 1, 2)
    if isinstance(layer, nn.Conv2d) and layer.groups > 1:  # [1, h, w, channels]
        return numbers.permute(3, 0, 1, 2)
    return numbers.permute(0, 3, 1, 2)  # [out, h, w, in]


def converted(content: bytes) -> dict[str, Tensor]:
    """The state of `HairNetwork`, float16. Raises ValueError when the file holds another network."""
    network = HairNetwork()
    layers = dict(network.named_modules())
    arrays = list(constants(content))
    names = list(network.state_dict())
    if len(arrays) != len(names):
        raise ValueError(f"the file has {len(arrays)} arrays of numbers, the network {len(names)}")
    state = {name: for_torch(array, layers[name.rpartition(".")[0]]) for name, array in zip(names, arrays, strict=True)}
    network.load_state_dict(state)  # checks every shape
    return {name: numbers.half().contiguous() for name, numbers in state.items()}


def main() -> int:
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    source, target = map(Path, sys.argv[1:])
    save_file(converted(source.read_bytes()), target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
