"""An avatar's file without the workspace that it was made in, for the commands that only show avatars."""

from __future__ import annotations

from pathlib import Path

from avatarcli.errors import WorkspaceError
from avatarcli.files import why_not_a_file
from avatarcli.stages.artefacts import AVATAR_FILE
from avatarcli.workspace import Subject, Workspace, slug


class AvatarFile(Subject):
    """Stands in for a subject of which nothing but the avatar is there. It is named after the file."""

    def __init__(self, workspace: Workspace, file: Path) -> None:
        super().__init__(workspace, slug(file.stem))
        self.path = file  # nothing lies below it: no stage has a record

    def artefact(self, stage: str, name: str) -> Path:
        """The avatar's file, as of `Subject.artefact`. Raises WorkspaceError when something else is asked for."""
        if (stage, name) != ("distill", AVATAR_FILE):
            raise WorkspaceError(
                f"{self.path} is an avatar alone, but {stage}/{name} of its workspace is needed too: use --subject NAME"
            )
        if (problem := why_not_a_file(self.path, "avatar")) is not None:
            raise WorkspaceError(problem)
        return self.path

    def whole(self, stage: str, name: str) -> Path:
        """As `artefact`: whether the file is whole shows when it is read."""
        return self.artefact(stage, name)


def names_a_file(name: str) -> bool:
    """Whether an avatar is named by its file, which has a folder before it or the ending of avatars."""
    return Path(name).name != name or Path(name).suffix == Path(AVATAR_FILE).suffix
