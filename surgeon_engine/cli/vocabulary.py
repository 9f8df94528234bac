"""The command that previews a smaller vocabulary: surgeon vocabulary."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from surgeon_engine.api.config.calibration import BUILTIN_TEXT, CalibrationConfig
from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.api.messages.lines import text_name
from surgeon_engine.api.messages.vocabulary import HitScript, VocabularyPreviewed
from surgeon_engine.base.formatting import format_count, format_percent, format_size
from surgeon_engine.cli.formatting import add_row, headed_table
from surgeon_engine.cli.output import Output

_EXAMPLES = 4  # examples per script


def vocabulary(
    model: Annotated[str, typer.Argument(help="As for inspect.")],
    tokens: Annotated[
        int | None,
        typer.Option(
            show_default="two thirds, which is typical of a run that chooses it",
            help="Number of tokens to keep.",
        ),
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(
            help="Language, script or text file whose tokens are kept; repeat it for "
            "further ones."
        ),
    ] = None,
    text: Annotated[str, typer.Option(help="Text of your own.")] = BUILTIN_TEXT,
) -> None:
    """Preview what fewer tokens mean for languages and texts, without a run."""
    from surgeon_engine.calibration.fenced import preview_vocabulary

    output = Output()
    calibration = calibration_on(model, text, output)
    found = preview_vocabulary(
        ModelConfig(source=model), calibration, tokens, tuple(keep or ())
    )
    print_preview(found, output)


def calibration_on(model: str, text: str, output: Output) -> CalibrationConfig:
    """Return the settings of a text; print if it has fewer windows than usual."""
    from surgeon_engine.calibration.fenced import with_windows_there

    usual = CalibrationConfig(text=text)
    if text == BUILTIN_TEXT:
        return usual
    found = with_windows_there(ModelConfig(source=model), usual)
    if found != usual:
        count, most = (x.windows + x.validation_windows for x in (found, usual))
        output.print_line(
            f"{text} is short: {count} windows of {found.window_length} tokens are "
            f"used in place of {most}, which makes the result less certain."
        )
    return found


def print_preview(found: VocabularyPreviewed, output: Output) -> None:
    """Print how many tokens are kept, what scripts lose and what texts become."""
    output.print_line(
        f"{format_count(found.kept)} of {format_count(found.tokens)} tokens are kept; "
        f"at least {format_count(found.least)} must be. "
        f"{format_count(found.parameters)} parameters "
        f"({format_percent(found.share)}) are removed, {format_size(found.file_bytes)} "
        "of a file like the original's."
    )
    if found.is_typical:
        output.print_line("A run chooses the number of tokens; this one is typical.")
    output.print_table(_script_table(found))
    output.print_table(_text_table(found))
    for each in found.hit:
        output.print_line(hit_line(each))
    output.print_line(
        "By how often tokens occur in the text, and by their ranks: a run takes the "
        "predictions of the model instead of these."
    )


def hit_line(hit: HitScript) -> str:
    """Return the warning that a script of the user's text loses many tokens."""
    return (
        f"{hit.script} makes up {format_percent(hit.of_text, 0)} of your text, and "
        f"{format_percent(hit.share, 0)} of its tokens there are split. "
        "Keep more tokens, or the language: --keep."
    )


def _script_table(found: VocabularyPreviewed) -> Table:
    table = headed_table("script", "tokens", "removed", "such as")
    for each in found.scripts:
        if each.removed:
            add_row(
                table,
                each.script,
                format_count(each.tokens),
                format_count(each.removed),
                "  ".join(each.examples[:_EXAMPLES]),
            )
    return table


def _text_table(found: VocabularyPreviewed) -> Table:
    table = headed_table("text", "tokens", "split", "longer by")
    for each in found.texts:
        add_row(
            table,
            text_name(each.text),
            format_count(each.tokens),
            format_percent(each.share),
            format_percent(each.longer),
        )
    return table
