"""Video autoencoders of one geometry: 8 times smaller in space, 4 times in time, 16 channels, the first frame alone.

Videos are premultiplied RGBA [B, F, 4, H, W] in [0, 1], latents [B, T, 16, H/8, W/8] of about unit variance, F = 1 + 4 (T − 1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from avatarcli.diffusion.conditioning import HINT_CHANNELS
from avatarcli.diffusion.light_diffusers import ConfigMixin, ModelMixin, register_to_config
from avatarcli.diffusion.packing import FRAMES_PER_LATENT, pack_frames, unpack_frames

if TYPE_CHECKING:
    from diffusers import AutoencoderKLCogVideoX

LATENT_CHANNELS = 16

# How the decoder takes the warped photo in. "add": its features are added to the decoder's own, beside which they are small, so
# that training never found a use for them. "normalised": see `_Hint`.
HintFusion = Literal["add", "normalised"]
# Pixels of a full picture: how far a hint may be moved. The fitted head's errors are of 1 to 2 pixels of 256 in front.
_REACH = 4.0


class VideoAutoencoder(Protocol):
    """What the pipeline needs of an autoencoder."""

    def encode(self, video: Tensor) -> Tensor:
        """Latents [B, T, 16, H/8, W/8] of videos [B, F, 4, H, W]; F = 1 + 4 k."""
        ...

    def decode(self, latents: Tensor, hint: Tensor | None = None) -> Tensor:
        """Videos [B, F, 4, H, W] of latents. hint [B, F, 5, H, W]: the warped photo (see conditioning), where it is used."""
        ...


class SmallVideoAutoencoder(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """A light causal autoencoder for the mini model.

    Every layer is local in space and causal in time, and normalises each pixel by itself (as Wan's autoencoder does), so that
    chunks of a video and pictures of another size are coded exactly as the whole is. Wide layers work once a latent, narrow
    ones once a frame. The decoder may look at the warped photo in full resolution: there the likeness is; without a hint it
    sees a photo that shows nothing.

    widths: channels of the frame layers at 1/2, 1/4 and 1/8 of the size; trunk_width: of the latent layers; hint_fusion: how the
    decoder takes the warped photo in.
    """

    @register_to_config
    def __init__(
        self,
        widths: tuple[int, int, int] = (48, 80, 128),
        trunk_width: int = 192,
        hint_fusion: HintFusion = "add",
    ) -> None:
        super().__init__()
        self.encoder = _Encoder(widths, trunk_width)
        # Latents are kept at unit variance by statistics gathered in training, without a scale to learn.
        self.norm = nn.BatchNorm3d(LATENT_CHANNELS, affine=False, momentum=0.02)
        self.decoder = _Decoder(widths, trunk_width, hint_fusion)

    def encode(self, video: Tensor) -> Tensor:
        """See VideoAutoencoder. In training mode, latents are normalised by the batch's own statistics."""
        latents = self.encoder(video * 2 - 1)
        return cast(Tensor, self.norm(latents.transpose(1, 2).float())).transpose(1, 2).to(video.dtype)

    def decode(self, latents: Tensor, hint: Tensor | None = None) -> Tensor:
        """See VideoAutoencoder. Values may leave [0, 1] a little."""
        return cast(Tensor, self.decoder(latents, hint))

    def forward(self, video: Tensor, hint: Tensor | None = None, latent_noise: float = 0.0) -> Tensor:
        """The round trip of videos [B, F, 4, H, W], for training: latents are disturbed by `latent_noise` standard deviations."""
        latents = self.encode(video)
        return self.decode(latents + latent_noise * torch.randn_like(latents), hint)


def with_normalised_hint(model: SmallVideoAutoencoder) -> SmallVideoAutoencoder:
    """The same autoencoder with the hint fusion "normalised". One that was of the other kind decodes as it did without a hint."""
    if model.config.hint_fusion == "normalised":
        return model
    fresh = SmallVideoAutoencoder(model.config.widths, model.config.trunk_width, "normalised")
    kept = {name: value for name, value in model.state_dict().items() if not name.startswith("decoder.hint_")}
    fresh.load_state_dict(kept | {n: v for n, v in fresh.state_dict().items() if n not in kept})
    return fresh.train(model.training)


class CogVideoXVideoAutoencoder(nn.Module):
    """diffusers' CogVideoX autoencoder with transparency by a green screen.

    Its three channels and sixteen latents are fixed by the frozen weights, so RGBA is composited over pure green, and alpha
    is read back as 1 − (green − max(red, blue)): right where nothing of the person is greener than it is red or blue. Green
    clothes come out partly transparent: that is the price of keeping the base model's latent space.
    """

    def __init__(self, base: AutoencoderKLCogVideoX) -> None:
        super().__init__()
        self.base = base

    def encode(self, video: Tensor) -> Tensor:
        """See VideoAutoencoder: the mean of the base's distribution, scaled as the base's transformer expects."""
        opaque = over_green(video).transpose(1, 2) * 2 - 1
        mean = self.base.encode(opaque.to(self.base.dtype)).latent_dist.mode()
        return cast(Tensor, mean).transpose(1, 2).to(video.dtype) * self.base.config.scaling_factor

    def decode(self, latents: Tensor, hint: Tensor | None = None) -> Tensor:
        """See VideoAutoencoder; the hint is not used."""
        scaled = (latents / self.base.config.scaling_factor).transpose(1, 2).to(self.base.dtype)
        opaque = self.base.decode(scaled).sample.transpose(1, 2).to(latents.dtype) * 0.5 + 0.5
        return from_green(opaque.clamp(0, 1))


def over_green(video: Tensor) -> Tensor:
    """Opaque RGB [..., 3, H, W] of premultiplied RGBA [..., 4, H, W] in front of a green screen."""
    color, alpha = video.split([3, 1], dim=-3)
    red, green, blue = color.split(1, dim=-3)
    return torch.cat([red, green + 1 - alpha, blue], dim=-3)


def from_green(video: Tensor) -> Tensor:
    """Premultiplied RGBA [..., 4, H, W] of RGB [..., 3, H, W] in [0, 1] in front of a green screen."""
    red, green, blue = video.split(1, dim=-3)
    screen = (green - torch.maximum(red, blue)).clamp(0, 1)
    return torch.cat([red, green - screen, blue, 1 - screen], dim=-3)


class _PixelNorm(nn.Module):
    """Root-mean-square normalisation over the channels (dimension 1) of every pixel, with a scale."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        power = x.float().square().mean(1, keepdim=True)
        scale = self.scale.view(-1, *[1] * (x.ndim - 2))
        return x * torch.rsqrt(power + 1e-6).to(x.dtype) * scale


class _Block(nn.Module):
    """Residual block of two convolutions. It starts as the identity."""

    def __init__(self, channels: int, conv1: nn.Conv2d | nn.Conv3d, conv2: nn.Conv2d | nn.Conv3d) -> None:
        super().__init__()
        self.norm1, self.norm2 = _PixelNorm(channels), _PixelNorm(channels)
        self.conv1, self.conv2 = conv1, conv2
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(cast(Tensor, self.conv2.bias))

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(functional.silu(self.norm1(x)))
        return x + cast(Tensor, self.conv2(functional.silu(self.norm2(h))))


class _FrameBlock(_Block):
    """On pictures [n, C, H, W], each by itself."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, *(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2)))


class _CausalConv(nn.Conv3d):
    """A convolution over [B, C, T, H, W] whose output at a time sees that time and the two before; before the start is zero."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, padding=(0, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2] == 1:  # zeros need no work: two thirds less for a still picture
            return functional.conv2d(x[:, :, 0], self.weight[:, :, -1], self.bias, padding=1)[:, :, None]
        return super().forward(functional.pad(x, (0, 0, 0, 0, 2, 0)))


class _LatentBlock(_Block):
    """On latents [B, C, T, H, W], neighbours of which it mixes."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, *(_CausalConv(channels, channels) for _ in range(2)))


class _Encoder(nn.Module):
    """Frames [B, F, 4, H, W] → latents [B, T, 16, H/8, W/8]."""

    def __init__(self, widths: tuple[int, int, int], trunk_width: int) -> None:
        super().__init__()
        fine, middle, coarse = widths
        self.frames = nn.Sequential(
            nn.PixelUnshuffle(2),
            nn.Conv2d(16, fine, 3, padding=1),
            _FrameBlock(fine),
            nn.Conv2d(fine, middle, 3, stride=2, padding=1),
            _FrameBlock(middle),
            nn.Conv2d(middle, coarse, 3, stride=2, padding=1),
            _FrameBlock(coarse),
        )
        self.join = nn.Conv2d(FRAMES_PER_LATENT * coarse, trunk_width, 1)
        self.trunk = _LatentBlock(trunk_width)
        self.head = nn.Sequential(
            _FrameBlock(trunk_width), _PixelNorm(trunk_width), nn.SiLU(), nn.Conv2d(trunk_width, LATENT_CHANNELS, 1)
        )

    def forward(self, video: Tensor) -> Tensor:
        cells = self.frames(video.flatten(0, 1)).unflatten(0, video.shape[:2])
        packed = pack_frames(cells)
        batch, latents = packed.shape[:2]
        trunk = self.trunk(self.join(packed.flatten(0, 1)).unflatten(0, (batch, latents)).transpose(1, 2))
        return cast(Tensor, self.head(trunk.transpose(1, 2).flatten(0, 1))).unflatten(0, (batch, latents))


class _Comparison(nn.Module):
    """Looks at the decoder's features and the hint's side by side, each of unit size, and says what to add: at first nothing."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm, self.norm_hint = _PixelNorm(channels), _PixelNorm(channels)
        self.mix = nn.Conv2d(2 * channels, channels, 3, padding=1)
        self.gain = nn.Conv2d(channels, channels, 3, padding=1)
        _silence(self.gain)

    def forward(self, x: Tensor, hint: Tensor) -> tuple[Tensor, Tensor]:
        """The stream [n, C, H, W] with what it gains, and what was found in the comparison [n, C, H, W]."""
        found = functional.silu(self.mix(torch.cat([self.norm(x), self.norm_hint(hint)], dim=1)))
        return x + self.gain(found), found


class _Hint(nn.Module):
    """What the decoder does with the warped photo: it finds for every pixel how far to trust it, as the fitted head that carries
    the photo is wrong in places.

    At a quarter of the size, hint and latents are compared, and the hint is moved by up to `_REACH` pixels to lie on what the
    latents show. Moved, it is compared at half of the size, and in the end its pixels are taken as far as `trust` says. All of
    that starts as nothing, so that fresh layers leave a decoder's pictures as they are.
    """

    def __init__(self, fine: int, middle: int) -> None:
        super().__init__()
        # Without bias, so that a hint that shows nothing has no features.
        self.fine = nn.Conv2d(4 * HINT_CHANNELS, fine, 3, padding=1, bias=False)
        self.middle = nn.Conv2d(fine, middle, 3, stride=2, padding=1, bias=False)
        self.compare_middle, self.compare_fine = _Comparison(middle), _Comparison(fine)
        self.motion = nn.Conv2d(middle, 2, 3, padding=1)
        self.trust = nn.Conv2d(fine, 4, 3, padding=1)
        _silence(self.motion)
        _silence(self.trust)

    def features(self, hint: Tensor) -> Tensor:
        """Of a hint [n, 5, H, W], at half of its size."""
        return cast(Tensor, self.fine(functional.pixel_unshuffle(hint, 2)))

    def at_quarter(self, x: Tensor, hint: Tensor) -> tuple[Tensor, Tensor]:
        """The stream [n, C, H/4, W/4] with what it gains, and the hint [n, 5, H, W], moved."""
        x, found = self.compare_middle(x, self.middle(functional.silu(self.features(hint))))
        motion = _REACH * torch.tanh(self.motion(found).float())
        motion = functional.interpolate(motion, scale_factor=4, mode="bilinear", align_corners=False)
        return x, _moved(hint, motion)

    def at_half(self, x: Tensor, hint: Tensor) -> Tensor:
        """The stream [n, C, H/2, W/2] with what it gains."""
        return cast(Tensor, self.compare_fine(x, self.features(hint))[0])

    def blended(self, picture: Tensor, x: Tensor, hint: Tensor) -> Tensor:
        """A picture [n, 4, H, W] with the hint's pixels as far as they are trusted. x [n, C, H/2, W/2]: the last features."""
        trust = torch.tanh(functional.pixel_shuffle(self.trust(x), 2))
        color = picture[:, :3]
        return torch.cat([color + trust * (hint[:, :3] - hint[:, 3:4] * color), picture[:, 3:]], dim=1)


def _silence(layer: nn.Conv2d) -> None:
    """Let a layer start by saying nothing."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(cast(Tensor, layer.bias))


def _moved(pictures: Tensor, motion: Tensor) -> Tensor:
    """Pictures [n, C, H, W] whose pixels are fetched from as many pixels right and down as motion [n, 2, H, W] says; 0 outside."""
    height, width = pictures.shape[-2:]
    x = torch.arange(width, device=motion.device) + motion[:, 0]
    y = torch.arange(height, device=motion.device)[:, None] + motion[:, 1]
    places = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
    return functional.grid_sample(pictures.float(), places, align_corners=False).to(pictures.dtype)


class _Decoder(nn.Module):
    """Latents [B, T, 16, H/8, W/8] and hints [B, F, 5, H, W] → frames [B, F, 4, H, W]."""

    def __init__(self, widths: tuple[int, int, int], trunk_width: int, hint_fusion: HintFusion) -> None:
        super().__init__()
        fine, middle, coarse = widths
        self.tail = nn.Sequential(nn.Conv2d(LATENT_CHANNELS, trunk_width, 3, padding=1), _FrameBlock(trunk_width))
        self.trunk = _LatentBlock(trunk_width)
        self.split = nn.Conv2d(trunk_width, FRAMES_PER_LATENT * coarse, 1)
        self.coarse = nn.Sequential(_FrameBlock(coarse), nn.Conv2d(coarse, 4 * middle, 1), nn.PixelShuffle(2))
        self.middle = nn.Sequential(_FrameBlock(middle), nn.Conv2d(middle, 4 * fine, 1), nn.PixelShuffle(2))
        self.fine = nn.Sequential(
            _FrameBlock(fine), _PixelNorm(fine), nn.SiLU(), nn.Conv2d(fine, 16, 3, padding=1), nn.PixelShuffle(2)
        )
        self.hint = _Hint(fine, middle) if hint_fusion == "normalised" else None
        if self.hint is None:
            # Without bias, so that a hint that shows nothing is no hint.
            self.hint_fine = nn.Conv2d(4 * HINT_CHANNELS, fine, 3, padding=1, bias=False)
            self.hint_middle = nn.Conv2d(fine, middle, 3, stride=2, padding=1, bias=False)

    def forward(self, latents: Tensor, hint: Tensor | None) -> Tensor:
        batch, count = latents.shape[:2]
        trunk = self.tail(latents.flatten(0, 1)).unflatten(0, (batch, count)).transpose(1, 2)
        trunk = self.trunk(trunk).transpose(1, 2)
        cells = unpack_frames(self.split(trunk.flatten(0, 1)).unflatten(0, (batch, count)))
        x = self.coarse(cells.flatten(0, 1))
        seen = None if hint is None else hint.flatten(0, 1)
        return self._pictures(x, seen).unflatten(0, cells.shape[:2])

    def _pictures(self, x: Tensor, hint: Tensor | None) -> Tensor:
        """Pictures [n, 4, H, W] of features [n, C, H/4, W/4] and hints [n, 5, H, W]."""
        if self.hint is not None:
            if hint is None:
                hint = x.new_zeros(len(x), HINT_CHANNELS, *(4 * side for side in x.shape[-2:]))
            x, hint = self.hint.at_quarter(x, hint)
            x = self.fine[:-2](self.hint.at_half(self.middle(x), hint))
            return self.hint.blended(self.fine[-2:](x), x, hint)
        if hint is None:
            return cast(Tensor, self.fine(self.middle(x)))
        fine = self.hint_fine(functional.pixel_unshuffle(hint, 2))
        x = self.middle(x + self.hint_middle(functional.silu(fine)))
        return cast(Tensor, self.fine(x + fine))
