"""What is known of the losses of a file: rows by kind of text, and answers."""

from __future__ import annotations

from surgeon_gui.state.run import RunState
from surgeon_gui.state.run_text import sample_pair
from surgeon_gui.state.verdict import on_texts
from surgeon_gui.text.fidelity import text_name
from surgeon_gui.text.judgments import Answer, LostRow


def lost_rows(run: RunState) -> tuple[LostRow, ...]:
    """Return a row for each text on which the file was compared, the worst first."""
    rows = [
        LostRow(text_name(each.text), verdict=each.verdict, share=each.share)
        for each in on_texts(run)
    ]
    return tuple(sorted(rows, key=lambda row: row.share))


def answers(run: RunState) -> tuple[Answer, ...]:
    """Return what both models have written after the prompt of the samples."""
    pair = sample_pair(run)
    if pair is None or not pair.pruned:
        return ()
    return (Answer(pair.prompt, pair.original, pair.pruned),)
