"""What the engine says of models that are downloaded and of texts that are chosen.

Part of the contract: imports neither torch nor Qt.
"""

from __future__ import annotations

import msgspec


class Downloading(msgspec.Struct, frozen=True, tag=True):
    """How far a download is; sizes are of the files that are needed, in bytes."""

    done: int
    total: int  # 0: the list of files is still being asked for
    files_done: int
    files: int
    file: str = ""  # the one that is under way
    speed: float = 0.0  # bytes a second, over the last seconds
    kept: int = 0  # bytes of `done` that an earlier attempt had left
    attempt: int = 1  # from 2: the connection was lost or stood still


class ModelDownloaded(msgspec.Struct, frozen=True, tag=True):
    """All files of a model are in the cache."""

    source: str
    folder: str
    bytes: int
    fetched: int  # bytes that came over the network for it


class TextDescribed(msgspec.Struct, frozen=True, tag=True):
    """What can be chosen in a table or a data set of texts."""

    text: str  # the source
    columns: tuple[str, ...]  # those that hold text
    column: str  # the one that is read unless another is chosen
    configs: tuple[str, ...] = ()  # of a data set
    splits: tuple[str, ...] = ()
    split: str = ""  # the one that is read unless another is chosen
