"""Texts about models and calibration texts: facts, downloads, previews.

Pure functions of the state.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from surgeon_engine.api.config.pruning import Structure
from surgeon_engine.api.messages.events import Failed
from surgeon_engine.api.messages.sources import ModelSummary, TextPreviewed
from surgeon_engine.api.model_info.header import ModelFacts
from surgeon_gui.base import offline
from surgeon_gui.base.translation import ntr, tr
from surgeon_gui.state.app import AppState
from surgeon_gui.state.sources.download import Download
from surgeon_gui.state.sources.samples import SAMPLE_BYTES, SMOLLM2, smollm2
from surgeon_gui.text import numbers
from surgeon_gui.text.choices import choice_label
from surgeon_gui.text.labels import source_name
from surgeon_gui.text.problems import Problem, of_error

Rows = tuple[tuple[str, str], ...]
_REMOVABLE = {
    Structure.EXPERTS_HEADS_AND_NEURONS: tr(
        "experts, heads and neurons can be removed"
    ),
    Structure.EXPERTS_AND_NEURONS: tr("experts and neurons can be removed"),
    Structure.HEADS_AND_NEURONS: tr("heads and neurons can be removed"),
    Structure.NEURONS: tr("neurons can be removed"),
    Structure.HEADS: tr("heads can be removed"),
    Structure.ROWS_AND_COLUMNS: tr("rows and columns can be removed"),
}


def facts_of(state: AppState) -> Rows:
    """Return names and values that describe the chosen model."""
    if not state.model_is_chosen:
        return ()
    if state.model is not None:
        return inspected_facts(state.model, state.facts)
    return first_facts(state.facts) if state.facts is not None else ()


def model_line(state: AppState) -> str:
    """Return size, number format and what can be removed; lines may end at a dot."""
    model, facts = state.model, state.facts
    parameters = model.parameters if model is not None else 0
    size, dtype = (model.file_bytes, model.dtype) if model is not None else (0, "")
    if facts is not None:
        parameters, size = parameters or facts.parameters, size or facts.file_bytes
        dtype = dtype or facts.dtype
    parts = []
    if parameters:
        parts.append(tr("{n} parameters").format(n=numbers.count(parameters)))
    if model is not None and model.experts:
        parts[-1] += ", " + tr("{n} active").format(n=_active(model))
        parts.append(_experts(model))
    parts += [dtype] if dtype else []
    parts += [numbers.size(size)] if size else []
    possible = (
        {x.structure for x in model.structures if x.supported} if model else set()
    )
    for structure, text in _REMOVABLE.items():
        if structure in possible:
            parts.append(text)
            break
    return "\N{NO-BREAK SPACE}\N{MIDDLE DOT} ".join(parts)


def inspected_facts(model: ModelSummary, facts: ModelFacts | None = None) -> Rows:
    """Return what the engine found in a model, and which structures it supports."""
    share = numbers.percent(model.prunable / max(1, model.parameters))
    dtype = model.dtype or (facts.dtype if facts is not None else "")
    rows = [
        (tr("Architecture"), model.architecture),
        (tr("Parameters"), numbers.count(model.parameters)),
        *_experts_facts(model),
        (
            tr("Prunable"),
            tr("{count} weights ({share})").format(
                count=numbers.count(model.prunable), share=share
            ),
        ),
        (tr("Blocks"), _blocks(model)),
        (tr("Vocabulary"), numbers.count(model.vocabulary)),
        (tr("Context length"), _window(model)),
        (tr("Number format"), dtype or tr("quantized (dequantized for pruning)")),
        (tr("Size on disk"), numbers.size(model.file_bytes)),
    ]
    supported = [choice_label(s.structure)[0] for s in model.structures if s.supported]
    if supported:
        rows.append((tr("Structures"), "; ".join(supported)))
    rows += [
        (
            tr("Cannot be pruned"),
            f"{choice_label(s.structure)[0]}: {s.reason}",
        )
        for s in model.structures
        if not s.supported
    ]
    reasons = {s.reason for s in model.structures}
    notes = {
        x.kind: x.sentence
        for s in model.structures
        for x in s.left_whole
        if x.reason not in reasons - {""}
    }
    rows += [(tr("Left whole"), sentence) for sentence in notes.values()]
    if model.not_loaded:
        rows.append((tr("Not loaded"), model.not_loaded.sentence))
    return tuple(rows)


def first_facts(facts: ModelFacts) -> Rows:
    """Return what the config and the file headers say, before the engine inspects."""
    size, window = facts.file_bytes, facts.longest_window
    rows = (
        (tr("Architecture"), facts.architecture),
        (tr("Parameters"), facts.parameters and numbers.count(facts.parameters)),
        (tr("Blocks"), facts.blocks and _blocks(facts)),
        (tr("Vocabulary"), facts.vocabulary and numbers.count(facts.vocabulary)),
        (tr("Context length"), window and _window(facts)),
        (tr("Number format"), facts.dtype),
        (tr("Size on disk"), size and numbers.size(size)),
    )
    return tuple((name, str(value)) for name, value in rows if value)


def _experts_facts(model: ModelSummary) -> Iterator[tuple[str, str]]:
    """Yield how many parameters a token uses, and how many experts."""
    if model.experts:
        yield tr("Active for each token"), _active(model)
        text = tr("{experts}, in {n} of {all} blocks").format(
            experts=_experts(model), n=len(model.experts), all=model.blocks
        )
        yield tr("Experts"), text


def _active(model: ModelSummary) -> str:
    return numbers.count(model.parameters - model.idle_parameters)


def _experts(model: ModelSummary) -> str:
    """Return how many experts a block has, and how many of them a token uses."""
    text = tr("{n} experts per block, {chosen} for each token")
    most = max(model.experts, key=lambda each: each.groups)
    return text.format(n=numbers.whole(most.groups), chosen=most.chosen)


def _blocks(model: ModelSummary | ModelFacts) -> str:
    return tr("{blocks} (hidden size {width})").format(
        blocks=model.blocks, width=model.hidden_size
    )


def _window(model: ModelSummary | ModelFacts) -> str:
    if not model.longest_window:
        return tr("unknown")
    return numbers.tokens(model.longest_window)


def facts_problem(state: AppState) -> Problem | None:
    """Return why the model is unsupported according to its files; otherwise None."""
    facts = state.facts
    if facts is None or state.model is not None or not facts.problem:
        return None
    return of_error(Failed(facts.problem, facts.hint))


def sample_label(usual: str, *, is_busy: bool) -> str:
    """Return the label of a control of the sample model; `usual`: once it is here."""
    if is_busy:
        return tr("Cancel download")
    if smollm2():
        return usual
    return tr("Get {sample} ({size})").format(
        sample=SMOLLM2, size=numbers.size(SAMPLE_BYTES)
    )


def sample_progress(received: int) -> str:
    """Return how much of the sample model has arrived."""
    if not received:
        return tr("Connecting…")
    return tr("{done} of about {total}").format(
        done=numbers.size(received), total=numbers.size(SAMPLE_BYTES)
    )


def download_obstacle() -> str:
    """Return why nothing can be downloaded; otherwise ""."""
    return tr("Offline mode is on (File > Preferences).") if offline.is_on() else ""


def sample_obstacle(*, is_busy: bool) -> str:
    """Return why the sample model cannot be used; otherwise ""."""
    return "" if is_busy or smollm2() else download_obstacle()


def download_title(download: Download, source: str, computer: str = "") -> str:
    """Return the title of the download card; `computer`: of the engine."""
    name = source_name(download.source if download.is_open else source)
    if download.is_open:
        return tr("Downloading {name}").format(name=name)
    if download.source == source and download.error is not None:
        return tr("{name} could not be downloaded").format(name=name)
    return tr("{name} is not on {computer}").format(
        name=name, computer=computer or tr("this computer")
    )


def download_line(download: Download, source: str) -> str:
    """Return the progress of a download, or how it ended."""
    if download.is_open:
        return _progress_lines(download)
    if download.source != source:
        return tr(
            "It can be downloaded from the Hugging Face Hub, if it exists there. The "
            "required files go to the cache that all programs for the Hub share."
        )
    if download.error is not None:
        return f"{download.error.message} {download.error.hint}".strip()
    if download.is_cancelled and download.can_resume:
        return tr("Canceled at {amount}. The downloaded part is kept.").format(
            amount=_amount(download)
        )
    return tr("Canceled before any data arrived.")


def download_error(state: AppState) -> str:
    """Return why the chosen model could not be downloaded; empty if it could."""
    download = state.download
    is_own = state.model_is_chosen and download.source == state.config.model.source
    return download.error.message if is_own and download.error is not None else ""


def download_brief(download: Download) -> str:
    """Return the progress of a download for the header of a step."""
    name = source_name(download.source)
    if not download.is_planned:
        return tr("{name}: contacting the Hub…").format(name=name)
    return tr("{name}: downloading, {share}").format(
        name=name, share=numbers.percent(download.share, decimals=0)
    )


def _progress_lines(download: Download) -> str:
    if download.is_cancelling:
        return tr("Canceling the download…")
    progress = download.progress
    if progress is None or not download.is_planned:
        return tr("Contacting the Hub…")
    files = tr("file {number} of {files}").format(
        number=min(progress.files_done + 1, progress.files), files=progress.files
    )
    lines = [f"{_amount(download)}, {files}"]
    if progress.speed > 0:
        speed = numbers.size(round(progress.speed))
        left = numbers.whole_duration(download.seconds_left or 0)
        text = tr("{size}/s, about {time} left")
        lines.append(text.format(size=speed, time=left))
    if progress.kept:
        kept = numbers.size(progress.kept)
        lines.append(tr("{size} were already downloaded.").format(size=kept))
    if progress.attempt > 1:
        number = progress.attempt
        lines.append(tr("Connection lost, attempt {n}.").format(n=number))
    return "\n".join(lines)


def _amount(download: Download) -> str:
    assert download.progress is not None
    return tr("{done} of {total}").format(
        done=numbers.size(download.progress.done),
        total=numbers.size(download.progress.total),
    )


class PreviewPart(NamedTuple):
    """The shown windows of one text."""

    title: str  # with {number}, {total} and {tokens}
    jump: str  # label of the button that leads to it
    shown: tuple[str, ...]
    windows: int  # number in the text, shown or not
    tokens: int  # tokens per window


def preview_parts(preview: TextPreviewed, own_windows: int) -> tuple[PreviewPart, ...]:
    """Return the parts of a preview: calibration, further texts, validation, own."""
    length = preview.window_length
    windows = preview.validation_windows or len(preview.validation)
    parts = [
        PreviewPart(
            tr("Calibration window {number} of {total}, {tokens} tokens"),
            tr("To calibration"),
            preview.calibration,
            preview.calibration_windows or len(preview.calibration),
            length,
        ),
        *(
            PreviewPart(
                # The name may have braces.
                source_name(more.text).replace("{", "{{").replace("}", "}}")
                + ": "
                + tr("window {number} of {total}, {tokens} tokens"),
                tr("To the next text"),
                more.shown,
                more.windows,
                length,
            )
            for more in preview.more_texts
        ),
        PreviewPart(
            tr("Validation window {number} of {total}, {tokens} tokens"),
            tr("To validation"),
            preview.validation,
            windows,
            preview.validation_tokens // max(1, windows),
        ),
        PreviewPart(
            tr("Written by the model itself: {number} of {total}, {tokens} tokens"),
            tr("To the model's own text"),
            preview.own,
            own_windows,
            length,
        ),
    ]
    return tuple(part for part in parts if part.shown)


def own_text_line(preview: TextPreviewed | None, own_windows: int) -> str:
    """Return whether the model's own text is in the cache, and the size of that."""
    if preview is None or not own_windows:
        return ""
    line = ntr(
        "The run first samples {n} window from the model itself and keeps it.",
        "The run first samples {n} windows from the model itself and keeps them.",
        own_windows,
    )
    if preview.own:
        line = ntr(
            "{n} window was written by the model itself.",
            "{n} windows were written by the model itself.",
            own_windows,
        )
    line = line.format(n=numbers.whole(own_windows))
    if not preview.own_cache_bytes:
        return line
    size = numbers.size(preview.own_cache_bytes)
    note = tr("The cache of such windows, of all models, takes {size}.")
    return f"{line} {note.format(size=size)}"


def preview_line(preview: TextPreviewed) -> str:
    """Return how many tokens of a text are used, and how its windows begin."""
    line = tr(
        "{calibration} tokens for calibration and {validation} for validation, of "
        "{available} in {source}."
    ).format(
        calibration=numbers.whole(preview.calibration_tokens),
        validation=numbers.whole(preview.validation_tokens),
        available=numbers.whole(preview.statistics.tokens),
        source=_sources(preview),
    )
    if preview.beginning:
        sentence = tr("Each window begins with {beginning}.")
        line += " " + sentence.format(beginning=preview.beginning)
    return line


def _sources(preview: TextPreviewed) -> str:
    """Return the name of the text, or how many texts there are."""
    if not preview.more_texts:
        return source_name(preview.source)
    count = 1 + len(preview.more_texts)
    return ntr("{n} text", "{n} texts", count).format(n=count)


def preview_facts(preview: TextPreviewed) -> Rows:
    """Return names and values that describe a text and its use."""
    found = preview.statistics
    used = preview.calibration_tokens + preview.validation_tokens
    held_out = numbers.percent(preview.validation_tokens / max(1, used))
    rows = [
        (tr("Used"), numbers.percent(used / max(1, found.tokens))),
        (tr("Held out"), tr("{share} of the tokens used").format(share=held_out)),
    ]
    if found.column:
        rows.append((tr("Column"), found.column))
    if chats := found.chats:
        text = ntr(
            "{n} chat, rendered by the model's template",
            "{n} chats, rendered by the model's template",
            chats,
        )
        rows.append((tr("Chats"), text.format(n=numbers.whole(chats))))
    if unread := found.unread_characters:
        text = tr("About {n} characters; a random part of a long text is enough")
        rows.append((tr("Not read"), text.format(n=numbers.whole(unread))))
    if found.documents > 1:
        documents = numbers.whole(found.documents)
        short = ntr(
            "{n} shorter than a window",
            "{n} shorter than a window",
            found.short_documents,
        ).format(n=numbers.whole(found.short_documents))
        rows.append((tr("Documents"), f"{documents}, {short}"))
    if repeated := found.repeated_documents:
        text = ntr("{n} duplicate document", "{n} duplicate documents", repeated)
        rows.append((tr("Skipped"), text.format(n=numbers.whole(repeated))))
    if skipped := found.skipped_chats:
        text = ntr(
            "{n} row without a chat that the template can render",
            "{n} rows without a chat that the template can render",
            skipped,
        )
        rows.append((tr("No chat"), text.format(n=numbers.whole(skipped))))
    if shared := found.shared_windows:
        text = ntr(
            "{n} window that is also used for calibration",
            "{n} windows that are also used for calibration",
            shared,
        )
        rows.append((tr("Not held out"), text.format(n=numbers.whole(shared))))
    return tuple(rows)
