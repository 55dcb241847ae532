"""The multi-view video transformer: joint attention over the photo and all latents of all views.

One architecture in two sizes. The large one has CogVideoX-2B's parameters under diffusers' own names (arXiv 2408.06072), so its
checkpoints load as they are; the mini one shares the modulation between blocks and knows places by rotation.
"""

from __future__ import annotations

from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from avatarcli.diffusion.autoencoder import LATENT_CHANNELS
from avatarcli.diffusion.conditioning import MAP_CHANNELS
from avatarcli.diffusion.light_diffusers import (
    ConfigMixin,
    FeedForward,
    ModelMixin,
    TimestepEmbedding,
    Timesteps,
    get_3d_sincos_pos_embed,
    register_to_config,
)
from avatarcli.diffusion.packing import FRAMES_PER_LATENT
from avatarcli.diffusion.parallel import SequenceGroup

# The packed maps of four frames, and the encoded warped photo.
CONDITIONING_CHANNELS = FRAMES_PER_LATENT * MAP_CHANNELS + LATENT_CHANNELS

# Rotary places: the picture spans 16 units along each side (a 256-pixel picture has as many patches), whatever its size, and
# latents in time are one unit apart. The slowest of the frequencies, 1/100, turns once in 600 units.
_PICTURE_UNITS = 16.0
_ROTARY_BASE = 100.0
_QUERIES = 256  # in a block on a processor: with 3,000 keys and 7 heads, 10 MB of weights


class MultiViewVideoTransformer(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Predicts the velocity of noisy latents.

    It takes a plain list of N latents: the photo's and those of every view at every time, in any order. Nothing tells views
    apart but their conditioning, so their order cannot matter.

    positions: "rotary" in normalised picture coordinates, so that sizes share weights, or "absolute" as CogVideoX-2B has.
    shared_modulation: one modulation for all blocks, with an offset table each, instead of a projection a block.
    text_tokens: length of the cached text stream (CogVideoX was trained with one); 0 for none.
    """

    _supports_gradient_checkpointing = True
    _no_split_modules = ["_Block"]  # noqa: RUF012 (a list, as diffusers wants it)

    @register_to_config
    def __init__(
        self,
        num_attention_heads: int = 6,
        attention_head_dim: int = 64,
        num_layers: int = 12,
        in_channels: int = LATENT_CHANNELS,
        time_embed_dim: int = 384,
        conditioning_channels: int = CONDITIONING_CHANNELS,
        positions: Literal["rotary", "absolute"] = "rotary",
        shared_modulation: bool = True,
        text_tokens: int = 0,
        text_embed_dim: int = 4096,
        patch_size: int = 2,
        spatial_interpolation_scale: float = 1.875,
        temporal_interpolation_scale: float = 1.0,
    ) -> None:
        super().__init__()
        width = num_attention_heads * attention_head_dim
        self.patch_embed = _Embedding(in_channels, width, patch_size, text_embed_dim if text_tokens else None)
        if text_tokens:
            self.register_buffer("text", torch.zeros(text_tokens, text_embed_dim))
        # One channel more: whether the latent is given. Zero at first, so that a fresh model is its base.
        self.conditioning_proj = nn.Conv2d(conditioning_channels + 1, width, patch_size, stride=patch_size)
        nn.init.zeros_(self.conditioning_proj.weight)
        nn.init.zeros_(cast(Tensor, self.conditioning_proj.bias))
        self.time_proj = Timesteps(width, flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time_embedding = TimestepEmbedding(width, time_embed_dim)
        projected = None if shared_modulation else time_embed_dim
        self.modulation = nn.Linear(time_embed_dim, 6 * width) if shared_modulation else None
        self.transformer_blocks = nn.ModuleList(
            _Block(width, num_attention_heads, projected) for _ in range(num_layers)
        )
        self.norm_final = nn.LayerNorm(width)
        self.norm_out = _OutputNorm(width, time_embed_dim)
        self.proj_out = nn.Linear(width, patch_size * patch_size * in_channels)
        self.gradient_checkpointing = False
        self.sequence_group: SequenceGroup | None = None
        self._absolute: dict[tuple[Any, ...], Tensor] = {}

    def forward(
        self,
        latents: Tensor,
        timestep: Tensor,
        time_index: Tensor,
        given: Tensor | None = None,
        conditioning: Tensor | None = None,
    ) -> Tensor:
        """Velocities [B, N, 16, h, w] of latents [B, N, 16, h, w].

        timestep [B, N] in 0 … 999: each latent's own noise level, 0 where it is given; time_index [N]: its place in its
        video; given [B, N] (bool) and conditioning [B, N, 220, h, w]: see `CONDITIONING_CHANNELS`. Without conditioning,
        the model is its base.
        """
        batch, count, _, height, width = latents.shape
        patch = self.config.patch_size
        rows, columns = height // patch, width // patch
        x = self._patches(self.patch_embed.proj, latents)
        if conditioning is not None:
            flags = torch.zeros(batch, count, device=latents.device) if given is None else given
            plane = flags.to(conditioning)[:, :, None, None, None].expand(-1, -1, 1, height, width)
            x = x + self._patches(self.conditioning_proj, torch.cat([conditioning, plane], dim=2))
        text_time = timestep.amax(1, keepdim=True)
        embedding = self._embed_time(torch.cat([timestep, text_time], dim=1), latents.dtype)
        rotation = None
        if self.config.positions == "absolute":
            x = x + self._absolute_places(time_index, rows, columns, x)
        else:
            rotation = _rotary_places(time_index, rows, columns, self.config.attention_head_dim)
        group = self.sequence_group
        if group is not None:
            x = group.split(x, dim=2)
            rotation = None if rotation is None else group.split(rotation, dim=2)
        x = self._run_blocks(x, self._text_stream(batch), functional.silu(embedding), rotation)
        x = self.proj_out(self.norm_out(self.norm_final(x), functional.silu(embedding[:, :count])))
        if group is not None:
            x = group.gather(x, dim=2)
        x = x.reshape(batch, count, rows, columns, -1, patch, patch)
        return x.permute(0, 1, 4, 2, 5, 3, 6).reshape(batch, count, -1, height, width)

    def _run_blocks(self, x: Tensor, text: Tensor, embedding: Tensor, rotation: Tensor | None) -> Tensor:
        shared = embedding if self.modulation is None else self.modulation(embedding)
        for block in self.transformer_blocks:
            arguments = (x, text, shared, rotation, self.sequence_group)
            if self.gradient_checkpointing and torch.is_grad_enabled():
                x, text = self._gradient_checkpointing_func(block, *arguments)
            else:
                x, text = block(*arguments)
        return x

    def _patches(self, projection: nn.Module, maps: Tensor) -> Tensor:
        """Tokens [B, N, P, D] of maps [B, N, C, h, w]."""
        return cast(Tensor, projection(maps.flatten(0, 1))).flatten(2).transpose(1, 2).unflatten(0, maps.shape[:2])

    def _embed_time(self, timestep: Tensor, dtype: torch.dtype) -> Tensor:
        waves = self.time_proj(timestep.flatten()).to(dtype)
        return cast(Tensor, self.time_embedding(waves)).unflatten(0, timestep.shape)

    def _text_stream(self, batch: int) -> Tensor:
        """Tokens [B, L, D] of the cached text; none in a model without."""
        if not self.config.text_tokens:
            return self.proj_out.weight.new_zeros(batch, 0, self.proj_out.in_features)
        return self.patch_embed.text_proj(self.text.to(self.dtype)).expand(batch, -1, -1)

    def _absolute_places(self, time_index: Tensor, rows: int, columns: int, like: Tensor) -> Tensor:
        """CogVideoX's sines and cosines [N, P, D] of time, row and column."""
        times = int(time_index.max()) + 1
        key = (rows, columns, times, like.device, like.dtype)
        if key not in self._absolute:
            self._absolute[key] = get_3d_sincos_pos_embed(
                like.shape[-1],
                (columns, rows),
                times,
                self.config.spatial_interpolation_scale,
                self.config.temporal_interpolation_scale,
                device=like.device,
                output_type="pt",
            ).to(like.dtype)
        return self._absolute[key][time_index.to(like.device)]


class _Embedding(nn.Module):
    """The projections of patches and text to tokens."""

    def __init__(self, channels: int, width: int, patch: int, text_dim: int | None) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, patch, stride=patch)
        if text_dim is not None:
            self.text_proj = nn.Linear(text_dim, width)


class _OutputNorm(nn.Module):
    """Layer norm of tokens [B, N, P, D], shifted and scaled by embeddings [B, N, E]."""

    def __init__(self, width: int, time_embed_dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(time_embed_dim, 2 * width)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        shift, scale = self.linear(embedding)[:, :, None].chunk(2, dim=-1)
        return self.norm(x) * (1 + scale) + shift


class _Block(nn.Module):
    """Modulated attention over all tokens of all latents, and a feed-forward layer. Parameter names are CogVideoXBlock's."""

    def __init__(self, width: int, heads: int, projected: int | None) -> None:
        super().__init__()
        self.norm1 = _ModulatedNorm(width, projected, part=0)
        self.attn1 = _Attention(width, heads)
        self.norm2 = _ModulatedNorm(width, projected, part=1)
        self.ff = FeedForward(width, activation_fn="gelu-approximate")

    def forward(
        self, x: Tensor, text: Tensor, modulation: Tensor, rotation: Tensor | None, group: SequenceGroup | None
    ) -> tuple[Tensor, Tensor]:
        """x [B, N, P, D], text [B, L, D], modulation [B, N + 1, …] (the last for the text), rotation [N, 2, P, d/2]."""
        h, h_text, gate, text_gate = self.norm1(x, text, modulation)
        h, h_text = self.attn1(h, h_text, rotation, group)
        x, text = x + gate * h, text + text_gate * h_text
        h, h_text, gate, text_gate = self.norm2(x, text, modulation)
        x = x + gate * self.ff(h)
        return x, text + text_gate * self.ff(h_text) if text.shape[1] else text


class _ModulatedNorm(nn.Module):
    """Layer norm, shifted and scaled by the noise level, with a gate for what follows (adaLN, arXiv 2212.09748).

    With `projected`, by a projection of its own of the time embedding: first the pictures' shift, scale and gate, then the
    text's. Without, by its `part` of the shared modulation plus a table.
    """

    def __init__(self, width: int, projected: int | None, part: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.part = part
        if projected is None:
            table = torch.empty(3 * width)
            if not table.is_meta:  # where there is nothing to fill, torch would load its compiler to say so
                table.normal_(std=0.02)
            self.table = nn.Parameter(table)
        else:
            self.linear = nn.Linear(projected, 6 * width)

    def forward(self, x: Tensor, text: Tensor, modulation: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        count = x.shape[1]
        if hasattr(self, "linear"):
            projected = self.linear(modulation)
            of_pictures, of_text = projected[:, :count].chunk(2, dim=-1)[0], projected[:, count:].chunk(2, dim=-1)[1]
        else:
            shared = modulation.chunk(2, dim=-1)[self.part] + self.table
            of_pictures, of_text = shared[:, :count], shared[:, count:]
        shift, scale, gate = of_pictures[:, :, None].chunk(3, dim=-1)
        text_shift, text_scale, text_gate = of_text.chunk(3, dim=-1)
        return (
            self.norm(x) * (1 + scale) + shift,
            self.norm(text) * (1 + text_scale) + text_shift,
            gate,
            text_gate,
        )


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, width) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(width, width)])
        self.norm_q, self.norm_k = (nn.LayerNorm(width // heads, eps=1e-6) for _ in range(2))

    def forward(
        self, x: Tensor, text: Tensor, rotation: Tensor | None, group: SequenceGroup | None
    ) -> tuple[Tensor, Tensor]:
        count, patches = x.shape[1:3]
        words = text.shape[1]
        tokens = torch.cat([text, x.flatten(1, 2)], dim=1) if words else x.flatten(1, 2)
        query, key, value = (
            layer(tokens).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in (self.to_q, self.to_k, self.to_v)
        )
        query, key = self.norm_q(query), self.norm_k(key)
        if rotation is not None:
            query, key = (_rotate(tensor, rotation, words) for tensor in (query, key))
        if group is not None:
            # Every process has the text; of the pictures' tokens each has its share.
            gathered = group.gather(torch.stack([key, value])[..., words:, :].contiguous(), dim=-2)
            key, value = torch.cat([torch.stack([key, value])[..., :words, :], gathered], dim=-2)
        attended = attention(query, key, value)
        attended = self.to_out[0](attended.transpose(1, 2).flatten(2))
        return attended[:, words:].unflatten(1, (count, patches)), attended[:, :words]


def attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Scaled dot-product attention [B, heads, L, d] of queries [B, heads, L, d] to keys and values [B, heads, M, d].

    On processors torch's own converts bfloat16 to float32; products by oneDNN, a block of queries at a time so that the
    weights stay in the cache, take two thirds of its time there.
    """
    if query.device.type != "cpu" or query.dtype != torch.bfloat16:
        return functional.scaled_dot_product_attention(query, key, value)
    flat = query.flatten(0, 1) * query.shape[-1] ** -0.5
    keys, values = key.flatten(0, 1).transpose(1, 2), value.flatten(0, 1)
    blocks = [torch.bmm(torch.bmm(part, keys).softmax(-1), values) for part in flat.split(_QUERIES, dim=1)]
    return torch.cat(blocks, dim=1).unflatten(0, query.shape[:2])


def _rotary_places(time_index: Tensor, rows: int, columns: int, head_dim: int) -> Tensor:
    """Cosines and sines [N, 2, P, d/2] of the angles by which time (a quarter), row and column turn a head's channels."""
    half = head_dim // 2
    in_time = half // 4
    in_row = (half - in_time) // 2
    device = time_index.device

    def angles(place: Tensor, channels: int) -> Tensor:
        frequency = _ROTARY_BASE ** -(torch.arange(channels, device=device) / channels)
        return place[:, None] * frequency

    y = (torch.arange(rows, device=device) + 0.5) / rows * _PICTURE_UNITS
    x = (torch.arange(columns, device=device) + 0.5) / columns * _PICTURE_UNITS
    count = len(time_index)
    turned = torch.cat(
        [
            angles(time_index.float(), in_time)[:, None, None].expand(-1, rows, columns, -1),
            angles(y, in_row)[None, :, None].expand(count, -1, columns, -1),
            angles(x, half - in_time - in_row)[None, None].expand(count, rows, -1, -1),
        ],
        dim=-1,
    ).flatten(1, 2)
    return torch.stack([turned.cos(), turned.sin()], dim=1)


def _rotate(tensor: Tensor, rotation: Tensor, words: int) -> Tensor:
    """Turn the pictures' tokens of [B, heads, L + N P, d] by rotation [N, 2, P, d/2]; text stays."""
    cos, sin = rotation.transpose(0, 1).flatten(1, 2).to(tensor.dtype)
    first, second = tensor[:, :, words:].chunk(2, dim=-1)
    turned = torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
    return torch.cat([tensor[:, :, :words], turned], dim=2) if words else turned
