"""What making an avatar would run, found out without running it."""

from __future__ import annotations

from avatarcli.capture.photo import check_photo
from avatarcli.capture.video import is_film
from avatarcli.config import CreateConfig
from avatarcli.errors import WorkspaceError
from avatarcli.stages.batch import Job
from avatarcli.stages.naming import different_photos, photos_hash
from avatarcli.stages.pipeline import PIPELINE, RunOptions, check_owner
from avatarcli.stages.runner import stage_fingerprint


def stages_to_do(job: Job, config: CreateConfig, options: RunOptions) -> tuple[str, ...]:
    """The stages that a job would run, in their order; none when its avatar is up to date.

    What follows a stage that would run counts too. Faces are not looked for: whether a photo is good enough is not known yet.

    Raises:
        PhotoError, VideoError: a file cannot be read.
        UsageError: the subject is of another photo, and `options.replace` is not set.
    """
    sources = different_photos([job.photo, *job.further])
    for source in sources:
        if not is_film(source):
            check_photo(source)
    sha256 = photos_hash(sources)
    check_owner(job.subject, sha256, options)
    names = tuple(stage.name for stage in PIPELINE)
    for place, stage in enumerate(PIPELINE):
        try:
            current = job.subject.current(stage.name, stage_fingerprint(stage, job.subject, sha256, config)) is not None
        except WorkspaceError:  # an earlier stage has not been run
            current = False
        if options.force or not current:
            return names[place:]
    return ()
