"""Count the texts that a run has read, and describe the parts that it left out."""

from __future__ import annotations

from dataclasses import dataclass

from surgeon_engine.base.sentences import say, say_all, say_list


@dataclass(slots=True)
class TextStatistics:
    """Counts of tokens and documents over both parts."""

    tokens: int = 0  # tokens read, the ones in front of each window included
    unread_characters: int = 0  # in texts far longer than their windows
    documents: int = 0
    short_documents: int = 0  # shorter than a window
    repeated_documents: int = 0  # omitted
    rows_without_text: int = 0  # omitted
    shared_windows: int = 0  # omitted, because they equal a calibration window
    column: str = ""  # column of the table for calibration
    chats: int = 0  # documents that are chats
    skipped_chats: int = 0  # omitted, because the template cannot render them
    unjudged: tuple[str, ...] = ()  # further texts without a window left to judge

    @property
    def left_out(self) -> str:
        """A sentence on the omitted parts of the text; empty if there are none."""
        counts = (
            self.unread_characters,
            self.repeated_documents,
            self.rows_without_text,
            self.skipped_chats,
            self.shared_windows,
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
                "Validation windows left out, as the calibration text has them too: "
                "{n:,}.",
                n=counts[4],
            ),
        )
        found = zip(counts, sentences, strict=True)
        unjudged = say(
            "Texts that do not judge the model, as all their windows calibrate: "
            "{texts}.",
            texts=say_list(*self.unjudged),
        )
        return say_all(
            *(sentence for count, sentence in found if count),
            unjudged if self.unjudged else "",
        )
