"""An avatar's file without the workspace that it was made in, for the commands that only show avatars."""

from __future__ import annotations

from pathlib import Path

from avatarcli.errors import WorkspaceError
from avatarcli.files import why_not_a_file
from avatarcli.stages.artefacts import AVATAR_FILE
from avatarcli.workspace import Subject, Workspace, slug

_KIND = "avatarcli.avatar"  # what `Avatar.save` calls them
_MEND = "give a copy of the avatar.safetensors that `avatar create` made"


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
        """As `artefact`, if the file says that it is an avatar; whether all in it is whole shows when it is read."""
        from safetensors import SafetensorError, safe_open

        path = self.artefact(stage, name)
        try:
            with safe_open(str(path), framework="np") as file:
                kind = (file.metadata() or {}).get("format")
        except (OSError, SafetensorError) as error:
            raise WorkspaceError(f"{path} is damaged or no avatar ({error}); {_MEND}") from error
        if kind != _KIND:
            raise WorkspaceError(f"{path} is no avatar; {_MEND}")
        return path


def names_a_file(name: str) -> bool:
    """Whether an avatar is named by its file, which has a folder before it or the ending of avatars."""
    return Path(name).name != name or Path(name).suffix == Path(AVATAR_FILE).suffix
