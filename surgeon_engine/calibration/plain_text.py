"""Read text files, of long ones the beginning."""

from __future__ import annotations

import codecs
from pathlib import Path

from surgeon_engine.base.errors import CalibrationError
from surgeon_engine.base.path_problems import unreadable
from surgeon_engine.base.sentences import say

# Of a text; a run of the longest windows needs less than half of it.
MAX_CHARACTERS = 256 << 20


def read_beginning(path: Path) -> tuple[str, bool]:
    """Return the first `MAX_CHARACTERS` bytes of a text file, and whether it has more.

    They end with a whole line where there are several.

    Raises:
        CalibrationError: The file cannot be read, or is not UTF-8 text.
    """
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CHARACTERS)
    except OSError as error:
        raise CalibrationError(
            unreadable(path.name, error), say("Choose another file.")
        ) from error
    is_cut = size > len(data)
    if is_cut and (end := data.rfind(b"\n") + 1):
        data = data[:end]
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    position = data.find(b"\0")
    if position < 0:
        try:
            return decoder.decode(data, final=not is_cut), is_cut
        except UnicodeDecodeError as error:
            position = error.start
    raise CalibrationError(
        say(
            "{path} is not UTF-8 text (at byte {position:,} of {size:,}).",
            path=path.name,
            position=position,
            size=size,
        ),
        say("Choose a text file, or save it as UTF-8."),
    )
