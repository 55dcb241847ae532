"""Batches rendered as they are needed: synthetic people of the studio, each seen once."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from avatarcli.diffusion.packing import frame_count
from avatarcli.studio.assets import StudioAssets
from avatarcli.studio.dataset import Studio, StudioSettings
from avatarcli.studio.motion import MotionLibrary
from avatarcli.training.agreement import Process
from avatarcli.training.autoencoder import VideoBatch
from avatarcli.training.data import stack_videos
from avatarcli.training.loop import step_seed
from avatarcli.training.settings import SourceSettings, StudioTable
from avatarcli.training.sources import Source

_VIEWS, _LATENTS = (8, 8), (1, 1)  # where a source does not say


class StudioBatches:
    """Sources that render. The people of a step are its own, whatever number of views its other sources draw.

    Raises:
        AssetsError, ClipError, WeightsError: what the table names is missing or damaged.
    """

    def __init__(self, table: StudioTable, process: Process) -> None:
        self._table = table
        self._process = process
        library = MotionLibrary.load(None if table.clips is None else Path(table.clips))
        settings = StudioSettings(1, 1, table.size, table.seed, face_views=table.face_views, photos=table.photos)
        skins = None if table.skins is None else Path(table.skins)
        self._studio = Studio(
            StudioAssets.load(table.assets, extra_skins=skins), settings, process.device, library=library
        )

    def videos(self, count: int, wanted: SourceSettings) -> Source[VideoBatch]:
        """Videos, for the autoencoder: a view each, of as few people as give so many."""

        def source(step: int) -> VideoBatch:
            studio = self._of_step(step, wanted)
            videos: list[dict[str, Tensor]] = []
            for index in self._people(step, count):
                videos.extend(studio.sample(index).videos()[: count - len(videos)])
                if len(videos) == count:
                    break
            return stack_videos(videos, self._process.device)

        return source

    def _of_step(self, step: int, wanted: SourceSettings) -> Studio:
        """The studio with as many views and frames as a step's random numbers say."""
        generator = torch.Generator().manual_seed(step_seed(self._process.seed, step, self._process.rank))
        views, latents = (
            int(torch.randint(low, high + 1, (), generator=generator))
            for low, high in (wanted.views or _VIEWS, wanted.latents or _LATENTS)
        )
        settings = replace(self._studio.settings, views=views, frames=frame_count(latents))
        studio = copy(self._studio)  # all that is costly to make is shared
        studio.settings = settings
        return studio

    def _people(self, step: int, count: int) -> range:
        """Numbers of the samples of this process at a step."""
        first = (step * self._process.world + self._process.rank) * count
        return range(first, first + count)
