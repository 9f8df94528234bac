"""The speedup of the original if a file drafts its tokens, in llama.cpp.

The draft model writes some tokens, and the original reads them all at once: it keeps
the ones it would have written, and adds one (Leviathan et al., arXiv 2211.17192).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from surgeon_engine.api.messages.judgment import DraftJudged
from surgeon_engine.api.messages.run import Stage
from surgeon_engine.base.calls import ModelProcess
from surgeon_engine.base.errors import ConfigError
from surgeon_engine.export.gguf.server import is_installed
from surgeon_engine.judging.answers import LLAMA, Speaker
from surgeon_engine.judging.conversation import Question
from surgeon_engine.judging.llama_process import AllAnswered
from surgeon_engine.runtime.run_context import RunContext

DRAFTED = 4  # tokens of a draft
_PROMPTS = 8
_TOKENS = 64  # per answer


def drafting_files(
    original: Speaker, file: Speaker, *, has_fewer_tokens: bool
) -> tuple[Path, Path]:
    """Return the GGUF files of the original and of its draft model, for llama.cpp.

    Raises:
        ConfigError: the file cannot be its draft model.
    """
    if has_fewer_tokens:
        raise ConfigError(
            "A draft model needs all tokens of the original, and this file has fewer.",
            "Prune it again with the whole vocabulary, or judge without --draft.",
        )
    if not is_installed():
        raise ConfigError(
            "The speed with a draft model is measured in llama.cpp, and xllamacpp is "
            "not installed.",
            "Install it: pip install xllamacpp. Or judge without --draft.",
        )
    if original.gguf is None or file.gguf is None:
        raise ConfigError(
            "llama.cpp runs a draft model beside the original only if both are GGUF "
            "files.",
            "Write both as GGUF, with surgeon export RUN and surgeon quantize MODEL. "
            "Then name both files: surgeon judge FILE ORIGINAL --draft.",
        )
    return original.gguf, file.gguf


def draft_judged(
    original: Path,
    file: Path,
    questions: Sequence[Question],
    context: RunContext,
) -> DraftJudged:
    """Return how fast the original writes alone, and with a file as its draft model.

    Args:
        original: GGUF file.
        file: GGUF file with the same tokens.
        questions: the first ones are asked.
        context: context of the judgment.
    """
    prompts = [x.tokens for x in questions[:_PROMPTS]]
    window = max(map(len, prompts)) + _TOKENS + DRAFTED + 1
    check, found = context.raise_if_cancelled, []
    with context.stage(Stage.GENERATION, total=2 * len(prompts)) as step:
        for draft in ("", str(file)):
            opened = (str(original), window, 1, draft, DRAFTED)
            with ModelProcess(original.name, LLAMA) as child:
                child.call("open", opened, str, check)
                answers = []
                for tokens in prompts:
                    asked = ((tokens,), _TOKENS)
                    answers.append(child.call("answer", asked, AllAnswered, check))
                    step()
            found.append(answers)
    alone, together = found
    return DraftJudged(
        tokens=DRAFTED,
        drafted=sum(x.drafted for x in together),
        accepted=sum(x.accepted for x in together),
        speed_alone=_speed(alone),
        speed=_speed(together),
    )


def _speed(answers: Sequence[AllAnswered]) -> float:
    """Return the tokens per second after the first of each answer; 0: unknown."""
    seconds = sum(x.seconds for x in answers)
    return sum(x.tokens for x in answers) / seconds if seconds else 0.0
