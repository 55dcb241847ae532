"""LPIPS: how different two pictures look to a network (Zhang et al., "The Unreasonable Effectiveness of Deep Features
as a Perceptual Metric", CVPR 2018; version 0.1 of its linear layers)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from avatarcli.weights.judges import LPIPS_ALEX, LPIPS_VGG, load_eval_weights

Backbone = Literal["alex", "vgg"]

# Statistics of ImageNet for pictures in [-1, 1].
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


class Lpips(nn.Module):
    """The distance on one backbone. Weights are read from the evaluation cache.

    Raises WeightsError when they are not there.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, backbone: Backbone = "alex") -> None:
        super().__init__()
        self.stages = _alexnet() if backbone == "alex" else _vgg16()
        weights = load_eval_weights(LPIPS_ALEX if backbone == "alex" else LPIPS_VGG)
        convolutions = [layer for layer in self.stages.modules() if isinstance(layer, nn.Conv2d)]
        for index, layer in enumerate(convolutions):
            layer.weight.data = weights[f"conv{index}.weight"]
            layer.bias = nn.Parameter(weights[f"conv{index}.bias"])
        self.linear = nn.ParameterList([weights[f"linear{index}.weight"] for index in range(len(self.stages))])
        self.register_buffer("shift", torch.tensor(_SHIFT)[:, None, None])
        self.register_buffer("scale", torch.tensor(_SCALE)[:, None, None])
        self.requires_grad_(False).eval()

    def forward(self, image: Tensor, target: Tensor) -> Tensor:
        """Distance of two pictures [H, W, 3] in [0, 1], each side at least 64 pixels; 0 is equal. A scalar."""
        return self.distances(image.permute(2, 0, 1)[None], target.permute(2, 0, 1)[None])[0]

    def distances(self, images: Tensor, targets: Tensor) -> Tensor:
        """Distances [n] of pictures [n, 3, H, W] from as many others."""
        # Apart, so that nothing is differentiated for targets.
        features = [(2 * pictures - 1 - self.shift) / self.scale for pictures in (images, targets)]
        total = images.new_zeros(len(images))
        for stage, linear in zip(self.stages, self.linear, strict=True):
            features = [stage(each) for each in features]
            a, b = (functional.normalize(each, dim=1, eps=1e-10) for each in features)
            total = total + torch.einsum("nchw,c->nhw", (a - b).square(), linear).mean((1, 2))
        return total


def _alexnet() -> nn.ModuleList:
    """AlexNet's convolutions (Krizhevsky 2014), cut after every activation that is compared."""
    pool = nn.MaxPool2d(3, 2)
    return nn.ModuleList(
        [
            nn.Sequential(nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU()),
            nn.Sequential(pool, nn.Conv2d(64, 192, 5, padding=2), nn.ReLU()),
            nn.Sequential(pool, nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
            nn.Sequential(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
            nn.Sequential(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()),
        ]
    )


def _vgg16() -> nn.ModuleList:
    """VGG16's convolutions (Simonyan and Zisserman 2015), cut before every pooling."""
    stages = nn.ModuleList()
    channels = 3
    for width, depth in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        layers: list[nn.Module] = [nn.MaxPool2d(2, 2)] if stages else []
        for _ in range(depth):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        stages.append(nn.Sequential(*layers))
    return stages
