"""Messages from the process that searches the Hub to the engine, as JSON lines."""

from __future__ import annotations

import msgspec

from surgeon_engine.api.messages.sources import HubModel
from surgeon_engine.base.sentences import Text


class ModelsFound(msgspec.Struct, frozen=True, tag=True):
    """The search is complete."""

    models: tuple[HubModel, ...]


class SearchFailed(msgspec.Struct, frozen=True, tag=True):
    """The search failed."""

    message: Text
    hint: Text


SearchMessage = ModelsFound | SearchFailed
