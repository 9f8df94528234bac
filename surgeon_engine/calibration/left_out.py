"""Describe the parts of texts that a run has left out."""

from __future__ import annotations

from surgeon_engine.api.messages.sources import TextStatistics
from surgeon_engine.base.sentences import say, say_all, say_list


def left_out(statistics: TextStatistics) -> str:
    """Return a sentence on the omitted parts of texts; empty if there are none."""
    counts = (
        statistics.unread_characters,
        statistics.repeated_documents,
        statistics.rows_without_text,
        statistics.skipped_chats,
        statistics.shared_windows,
    )
    sentences = (
        say(
            "Characters left out, as a random part of a long text suffices: about "
            "{n:,}.",
            n=counts[0],
        ),
        say("Repeated documents left out: {n:,}.", n=counts[1]),
        say("Rows left out, as they have no text: {n:,}.", n=counts[2]),
        say(
            "Rows left out, as the model's template cannot render a chat: {n:,}.",
            n=counts[3],
        ),
        say(
            "Validation windows left out, as the calibration text has them too: {n:,}.",
            n=counts[4],
        ),
    )
    found = zip(counts, sentences, strict=True)
    unjudged = say(
        "Texts that do not judge the model, as all their windows calibrate: {texts}.",
        texts=say_list(*statistics.unjudged),
    )
    return say_all(
        *(sentence for count, sentence in found if count),
        unjudged if statistics.unjudged else "",
    )
