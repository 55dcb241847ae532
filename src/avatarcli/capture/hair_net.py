"""Where hair is in a photo: Google's hair segmentation network in torch, with the weights of `weights/mediapipe/`.

The network is an E-Net (Paszke et al., arXiv 1606.02147) of 0.2 million numbers: Tkachenka et al., "Real-time Hair
Segmentation and Recoloring on Mobile GPUs", arXiv 1907.06740. TensorFlow Lite alone cannot run Google's file, which
uses operations of MediaPipe's own; `scripts/convert_hair_network.py` took the numbers out of it.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from avatarcli.arrays import Float32
from avatarcli.capture.alpha import resize

WEIGHTS = "mediapipe/hair_segmentation.safetensors"
SIDE = 512  # pixels: the only size that the network knows


def hair_probability(image: npt.NDArray[np.uint8], height: int, width: int) -> Float32:
    """How likely each pixel [height, width] of a picture shows hair of the head, in [0, 1].

    The mean over the picture and its mirror image. Beards and brows are not hair here; parts of hats may be.

    image: sRGB [H, W, 3], best a head crop; it is squeezed to the network's square.

    Raises:
        WeightsError: the network's file is missing or damaged.
    """
    square = resize(np.asarray(image, dtype=np.float32) / np.float32(255), SIDE, SIDE)
    picture = torch.from_numpy(square).permute(2, 0, 1)
    # The fourth channel is the mask of a video's previous frame; a still has none.
    both = functional.pad(torch.stack([picture, picture.flip(-1)]), (0, 0, 0, 0, 0, 1))
    with torch.inference_mode():
        straight, mirrored = _network()(both).softmax(1)[:, 1]
    return resize(((straight + mirrored.flip(-1)) / 2).numpy(), height, width)


@lru_cache(maxsize=1)
def _network() -> HairNetwork:
    from safetensors.torch import load_file

    from avatarcli.weights.shipped import weights_file

    network = HairNetwork()
    network.load_state_dict(load_file(weights_file(WEIGHTS)))  # float16 numbers become float32 on the way
    return network.eval()


class HairNetwork(nn.Module):
    """RGB and the previous mask [B, 4, 512, 512] in [0, 1] → logits of background and hair [B, 2, 512, 512].

    Layers stand in the order in which Google's file computes them: `scripts/convert_hair_network.py` relies on that.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(_conv(4, 8, 2, stride=2), nn.PReLU(8), _conv(8, 32, 2, stride=2), nn.PReLU(32))
        self.down1 = _Down(32, 16, 64)
        self.body1 = nn.Sequential(*(_Residual(64, 16, *_separable(16)) for _ in range(2)))
        self.down2 = _Down(64, 32, 128)
        self.body2 = nn.Sequential(*(_Residual(128, 16, *_separable(16)) for _ in range(4)))
        self.down3 = _Down(128, 16, 128)
        wide = [
            layers
            for _ in range(2)
            for layers in (
                *(_separable(8), _dilated(8, 2), _separable(8, 5)),
                *(_dilated(8, 4), _separable(8), _dilated(8, 8)),
            )
        ]
        self.body3 = nn.Sequential(*(_Residual(128, 8, *layers) for layers in wide))
        self.body4 = _Residual(128, 4, *_dilated(4, 1))
        self.up3 = _Up(128, 8, 128)
        self.join2 = _Residual(256, 8, *_dilated(8, 1), outputs=128)
        self.up2 = _Up(128, 8, 64)
        self.join1 = _Residual(128, 4, *_dilated(4, 1), outputs=64)
        self.up1 = _Up(64, 4, 32)
        self.body0 = _Residual(32, 4, *_dilated(4, 1))
        self.head = nn.Sequential(
            nn.ConvTranspose2d(32, 8, 2, stride=2), nn.PReLU(8), nn.ConvTranspose2d(8, 2, 2, stride=2)
        )

    def forward(self, picture: Tensor) -> Tensor:
        """Logits [B, 2, 512, 512] of `picture` [B, 4, 512, 512], as of the class."""
        first, peaks1 = self.down1(self.stem(picture))
        second, peaks2 = self.down2(self.body1(first))
        third, peaks3 = self.down3(self.body2(second))
        x = self.up3(self.body4(self.body3(third)), peaks3)
        x = self.up2(self.join2(torch.cat([x, second], 1)), peaks2)
        x = self.up1(self.join1(torch.cat([x, first], 1)), peaks1)
        logits: Tensor = self.head(self.body0(x))
        return logits


def _conv(
    inputs: int, outputs: int, size: int = 1, *, stride: int = 1, dilation: int = 1, groups: int = 1
) -> nn.Conv2d:
    """A convolution that keeps the picture's size, or divides it by `stride` (then `size` equals `stride`)."""
    padding = dilation * (size // 2) if stride == 1 else 0
    return nn.Conv2d(inputs, outputs, size, stride, padding, dilation, groups)


def _separable(width: int, size: int = 3) -> list[nn.Module]:
    """A convolution by channel, one across channels, and for 3 × 3 another by channel."""
    layers = [_conv(width, width, size, groups=width), _conv(width, width), nn.PReLU(width)]
    return [*layers, _conv(width, width, 3, groups=width), nn.PReLU(width)] if size == 3 else layers


def _dilated(width: int, dilation: int) -> list[nn.Module]:
    return [_conv(width, width, 3, dilation=dilation), nn.PReLU(width)]


class _Residual(nn.Module):
    """Squeeze to few channels, work there, widen again, and add."""

    def __init__(self, inputs: int, narrow: int, *layers: nn.Module, outputs: int | None = None) -> None:
        super().__init__()
        width = outputs or inputs
        self.branch = nn.Sequential(_conv(inputs, narrow), nn.PReLU(narrow), *layers, _conv(narrow, width))
        self.shortcut = nn.Identity() if outputs is None else _conv(inputs, width)
        self.activation = nn.PReLU(width)

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = self.activation(self.branch(x) + self.shortcut(x))
        return added


class _Down(nn.Module):
    """Half the size; also where in each 2 × 2 cell the largest value was, for `_Up` to put it back there."""

    def __init__(self, inputs: int, narrow: int, outputs: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            _conv(inputs, narrow, 2, stride=2), nn.PReLU(narrow), *_separable(narrow), _conv(narrow, outputs)
        )
        self.shortcut = nn.Identity() if inputs == outputs else _conv(inputs, outputs)
        self.activation = nn.PReLU(outputs)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        pooled, peaks = functional.max_pool2d(x, 2, return_indices=True)
        return self.activation(self.branch(x) + self.shortcut(pooled)), peaks


class _Up(nn.Module):
    """Twice the size."""

    def __init__(self, inputs: int, narrow: int, outputs: int) -> None:
        super().__init__()
        self.squeeze = nn.Sequential(_conv(inputs, narrow), nn.PReLU(narrow))
        self.enlarge = nn.ConvTranspose2d(narrow, narrow, 3, stride=2)
        self.activation1 = nn.PReLU(narrow)
        self.shortcut = _conv(inputs, outputs)
        self.expand = _conv(narrow, outputs)
        self.activation2 = nn.PReLU(outputs)

    def forward(self, x: Tensor, peaks: Tensor) -> Tensor:
        # TensorFlow's "same" padding of a 3 × 3 kernel at stride 2 cuts the last row and column off.
        enlarged = self.activation1(self.enlarge(self.squeeze(x))[..., :-1, :-1])
        unpooled = functional.max_unpool2d(self.shortcut(x), peaks, [2, 2])
        added: Tensor = self.activation2(self.expand(enlarged) + unpooled)
        return added
