"""Texts about the vocabulary of a draft, and about the preview of a smaller one."""

from __future__ import annotations

from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.api.messages.vocabulary import HitScript, VocabularyPreviewed
from surgeon_engine.planning import fewer_tokens
from surgeon_gui.base.translation import tr
from surgeon_gui.text import numbers
from surgeon_gui.text.fidelity import text_name
from surgeon_gui.text.language_names import script_name

Rows = tuple[tuple[str, str], ...]
_SCRIPTS = 6  # scripts shown
_EXAMPLES = 5  # tokens shown of each script


def tokens_phrase(before: int, after: int) -> str:
    """Return the size of the vocabulary before and after, for use in a sentence."""
    return tr("{before} to {after} tokens").format(
        before=numbers.whole(before), after=numbers.whole(after)
    )


def planned_tokens(config: RunConfig, model: ModelSummary) -> str:
    """Return what a job does to the vocabulary; empty if it stays whole."""
    if not config.pruning.removes_tokens:
        return ""
    if config.pruning.chooses_tokens:
        return tr("fewer tokens, as the run decides")
    left, whole = fewer_tokens.planned_tokens(config.pruning, model), model.vocabulary
    return tokens_phrase(whole, left) if left < whole else ""


def with_tokens(goal: str, tokens: int | None, *, is_open: bool = False) -> str:
    """Return a target or a size, with the tokens of the model, as in names of runs.

    Args:
        goal: the target or the size.
        tokens: those that stay; None: all, or as many as the run decides.
        is_open: whether the run will decide.
    """
    if tokens is not None:
        shown = numbers.whole(tokens)
        return tr("{goal}, {tokens} tokens").format(goal=goal, tokens=shown)
    return tr("{goal}, fewer tokens").format(goal=goal) if is_open else goal


def preview_line(found: VocabularyPreviewed) -> str:
    """Return how many tokens are kept, and what that removes."""
    line = tr(
        "{kept} of {tokens} tokens are kept. {parameters} parameters ({share} of all) "
        "are removed with the others, {size} of a file like the original's."
    ).format(
        kept=numbers.whole(found.kept),
        tokens=numbers.whole(found.tokens),
        parameters=numbers.count(found.parameters),
        share=numbers.percent(found.share),
        size=numbers.size(found.file_bytes),
    )
    if not found.is_typical:
        return line
    about = tr("The run chooses the number of tokens. A typical one, two thirds:")
    if found.kept == found.least:
        about = tr("The run chooses the number of tokens. The smallest one:")
    return f"{about} {line}"


def script_rows(found: VocabularyPreviewed) -> Rows:
    """Return the scripts that lose tokens, with some of these."""
    hit = [each for each in found.scripts if each.removed]
    rows = [
        (
            script_name(each.script),
            tr("{removed} of {tokens} removed: {examples}").format(
                removed=numbers.whole(each.removed),
                tokens=numbers.whole(each.tokens),
                examples="  ".join(each.examples[:_EXAMPLES]) or "\N{EN DASH}",
            ),
        )
        for each in hit[:_SCRIPTS]
    ]
    if others := hit[_SCRIPTS:]:
        removed = numbers.whole(sum(each.removed for each in others))
        text = tr("{removed} removed, in {scripts} scripts")
        value = text.format(removed=removed, scripts=len(others))
        rows.append((tr("Others"), value))
    return tuple(rows)


def text_rows(found: VocabularyPreviewed) -> Rows:
    """Return how much longer each text gets."""
    return tuple(
        (
            text_name(each.text),
            tr("{longer} longer; {share} of its tokens are split").format(
                longer=numbers.percent(each.longer), share=numbers.percent(each.share)
            ),
        )
        for each in found.texts
    )


def hit_warning(found: VocabularyPreviewed | None) -> str:
    """Return which scripts of the user's text lose many tokens; empty if none."""
    return " ".join(map(_hit_sentence, found.hit)) if found is not None else ""


def brief_warning(found: VocabularyPreviewed | None) -> str:
    """Return the same in few words."""
    if found is None or not found.hit:
        return ""
    first = found.hit[0]
    return tr("{script}: {share} of the tokens in your text are split").format(
        script=script_name(first.script), share=numbers.percent(first.share, decimals=0)
    )


def _hit_sentence(hit: HitScript) -> str:
    return tr(
        "{script} makes up {of_text} of your text, and {share} of its tokens there are "
        "split. Keep more tokens, or name the language in Keep."
    ).format(
        script=script_name(hit.script),
        of_text=numbers.percent(hit.of_text, decimals=0),
        share=numbers.percent(hit.share, decimals=0),
    )
