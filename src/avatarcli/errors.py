"""Errors that a user can mend.

Every message is one line that names the thing at fault and what to do about it. The command line prints it and leaves with
`exit_code`; anything else that escapes is a defect of the program.
"""


class AvatarError(Exception):
    """A failure with a cause that the user can see and mend."""

    exit_code = 1


class UsageError(AvatarError):
    """The command was called with arguments that cannot work."""

    exit_code = 2


class PhotoError(AvatarError):
    """The photo cannot be read, or shows no face that an avatar can be made of."""


class NoFaceError(PhotoError):
    """No face is found in a photo."""


class VideoError(AvatarError):
    """The video cannot be read, or shows no face to follow."""


class SpeechError(AvatarError):
    """The sound cannot be read, or holds no voice."""


class ClipError(AvatarError):
    """A motion clip is missing, malformed or unsafe."""


class UnknownClipError(ClipError, UsageError):
    """A word that is given for a clip is the name of none."""


class WeightsError(AvatarError):
    """A file under `weights/` is missing, damaged or of an unknown version."""


class WorkspaceError(AvatarError):
    """A subject folder is missing, locked, damaged or not writable."""


class DeviceError(AvatarError):
    """The requested compute device cannot be used."""


class ExportError(AvatarError):
    """An output file cannot be written."""


class AssetsError(AvatarError):
    """A file of the folder that the studio draws people from is missing or damaged."""
