"""Tokenizers of several kinds that are trained on lines of many kinds."""

import json
import random
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, normalizers, trainers
from tokenizers import pre_tokenizers as pre
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from surgeon_engine.model.gguf_tokenizer import SPLITS
from surgeon_engine.model.vocabulary.tokens import closed_costs, token_table
from surgeon_engine.model.vocabulary.trimmed import trimmed_tokenizer
from tests.helpers.gguf_files import split_by

ROOT = Path(__file__).parents[2]
END, BEGIN, UNKNOWN = "</s>", "<s>", "<unk>"
BYTE_NAMES = [f"<0x{byte:02X}>" for byte in range(256)]
_TEMPLATE = (
    "{% for m in messages %}<|turn|>{{ m.role }}\n{{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|turn|>assistant\n{% endif %}"
)
_EMOJI = [chr(code) for code in range(0x1F600, 0x1F640)] + ["\u200d", "\ufe0f"]
_HAN = [chr(code) for code in range(0x4E00, 0x4E80)]
_KANA = [chr(code) for code in range(0x3042, 0x3090)]
_GERMAN = (
    "Größere Übungen fördern das Gedächtnis; außerdem müssen Änderungen geprüft "
    "werden. Die Straße führt über den Fluß und wird im Frühjahr gesperrt, "
    "wegen Überflutung. "
)


@cache
def lines(count: int = 2_000, any_characters: bool = True) -> tuple[str, ...]:
    """Return lines of English, code, German, Han, kana, emoji and any characters."""
    draw = random.Random(0)
    english = (ROOT / "ARCHITECTURE.md").read_text().splitlines()
    code = Path(random.__file__).read_text().splitlines()
    kinds = [
        lambda: draw.choice(english),
        lambda: draw.choice(code),
        lambda: " ".join(draw.choices(_GERMAN.split(), k=6)),
        lambda: "".join(draw.choices(_HAN + _KANA, k=10)),
        lambda: "".join(draw.choices([*_EMOJI, " ", "a"], k=8)),
    ]
    if any_characters:
        kinds += [
            lambda: "".join(chr(draw.randrange(32, 0xD800)) for _ in range(8)),
            lambda: draw.randbytes(12).decode("latin-1"),
        ]
    return tuple(draw.choice(kinds)() for _ in range(count))


def demo() -> PreTrainedTokenizerFast:
    """Return the tokenizer of the model that comes with Surgeon."""
    return AutoTokenizer.from_pretrained(ROOT / "resources" / "demo")


def byte_level(whole: bool = False, size: int = 900) -> PreTrainedTokenizerFast:
    """Return a byte-level tokenizer; `whole`: whole words are tokens at once."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=whole))
    tokenizer.pre_tokenizer = split_by(SPLITS["llama-bpe"].steps[0])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        initial_alphabet=sorted(pre.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(lines(700, any_characters=False), trainer)
    tokenizer.add_special_tokens([BEGIN, END, "<|turn|>"])
    tokenizer.add_tokens(["<think>"])
    tokenizer.post_processor = TemplateProcessing(
        single=f"{BEGIN} $A", special_tokens=[(BEGIN, tokenizer.token_to_id(BEGIN))]
    )
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=BEGIN, eos_token=END
    )
    made.chat_template = _TEMPLATE
    return made


def pieces(prefixes: bool = True, size: int = 900) -> PreTrainedTokenizerFast:
    """Return a tokenizer of SentencePiece: all pairs that form a token are merged.

    Args:
        prefixes: Put a space before a text, as Llama 2; otherwise as Gemma.
        size: The number of tokens without bytes and special ones.
    """
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=size, show_progress=False)
    trained.train_from_iterator(lines(700, any_characters=False), trainer)
    ordered = sorted(trained.get_vocab().items(), key=lambda item: item[1])
    characters = [name for name, _ in ordered if len(name) == 1]
    merged = [name for name, _ in ordered if len(name) > 1]
    names = [UNKNOWN, BEGIN, END, *BYTE_NAMES, *merged, *characters]
    vocabulary = {name: i for i, name in enumerate(names)}
    merges = [
        (name[:at], name[at:])
        for name in merged
        for at in range(1, len(name))
        if name[:at] in vocabulary and name[at:] in vocabulary
    ]
    model = models.BPE(
        vocabulary, merges, unk_token=UNKNOWN, byte_fallback=True, fuse_unk=True
    )
    tokenizer = Tokenizer(model)
    spaces = normalizers.Replace(" ", "▁")
    steps = [normalizers.Prepend("▁"), spaces] if prefixes else [spaces]
    tokenizer.normalizer = normalizers.Sequence(steps)
    back = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence(
        [*back, decoders.Strip(" ", 1, 0)] if prefixes else back
    )
    return _with_special(tokenizer)


def unigram(falls_back: bool = True, size: int = 900) -> PreTrainedTokenizerFast:
    """Return a tokenizer of scores, with or without bytes for other characters."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre.Metaspace(prepend_scheme="never")
    trainer = trainers.UnigramTrainer(
        vocab_size=size,
        special_tokens=[UNKNOWN, BEGIN, END],
        unk_token=UNKNOWN,
        show_progress=False,
    )
    tokenizer.train_from_iterator(lines(700, any_characters=False), trainer)
    definition = json.loads(tokenizer.to_str())
    if falls_back:
        lowest = min(score for _, score in definition["model"]["vocab"])
        definition["model"]["vocab"] += [[name, lowest] for name in BYTE_NAMES]
        definition["model"]["byte_fallback"] = True
    tokenizer = Tokenizer.from_str(json.dumps(definition))
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return _with_special(tokenizer)


def _with_special(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    tokenizer.add_special_tokens([UNKNOWN, BEGIN, END])
    tokenizer.post_processor = TemplateProcessing(
        single=f"{BEGIN} $A", special_tokens=[(BEGIN, tokenizer.token_to_id(BEGIN))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token=UNKNOWN,
        bos_token=BEGIN,
        eos_token=END,
    )


KINDS = {
    "demo": demo,
    "bytes": byte_level,
    "whole words": lambda: byte_level(whole=True),
    "pieces": pieces,
    "pieces without a space before": lambda: pieces(prefixes=False),
    "unigram": unigram,
    "unigram of characters": lambda: unigram(falls_back=False),
}


@cache
def tokenizer_of(kind: str) -> PreTrainedTokenizerFast:
    """Return a tokenizer of a kind, which tests share and do not change."""
    return KINDS[kind]()


def kept_ids(tokenizer: PreTrainedTokenizerFast, share: float = 2 / 3) -> list[int]:
    """Return a closed choice of tokens, by costs at random."""
    table = token_table(tokenizer)
    costs = np.random.default_rng(0).random(table.size)
    _, order = closed_costs(costs, table)
    removed = order[: round(table.size * (1 - share))]
    return sorted(set(range(table.size)) - set(removed.tolist()))


@cache
def trimmed_of(kind: str) -> PreTrainedTokenizerFast:
    """Return a tokenizer of a kind with two thirds of its tokens."""
    tokenizer = tokenizer_of(kind)
    return trimmed_tokenizer(tokenizer, kept_ids(tokenizer))


def ids_of(tokenizer: PreTrainedTokenizerFast, texts: Iterable[str]) -> list[list[int]]:
    """Return the tokens of texts, without special ones."""
    return tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
