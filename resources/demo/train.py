"""Train the demo model from scratch: a Llama with 2.8 million parameters.

    python resources/demo/train.py

The text is English about Python and comes from installed files only: the calibration
part of the built-in text, and the docstrings of the standard library and of the
packages in `PACKAGES`, which are parsed but not imported. It contains no paragraph of
the validation part. The stored model, with 16-bit weights, is evaluated on the
validation part and compared with a unigram model, which knows the count of each token
in the training text plus one. Both predict all tokens of each window of 256 tokens but
the first.
"""

import argparse
import ast
import logging
import math
import sys
import sysconfig
import tempfile
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from surgeon_engine.calibration.builtin import (
    builtin_documents,
    paragraph_key,
    paragraphs,
)

END_OF_TEXT = "<|endoftext|>"
VOCABULARY = 2048
WINDOW = 256  # tokens
BATCH = 16  # windows
PEAK_RATE = 3e-3
FINAL_RATE_SHARE = 0.02
WARM_UP_STEPS = 150
WEIGHT_DECAY = 0.1
GRADIENT_NORM = 1.0
THREADS = 2

# Installed with the project or its dependencies; permissive licenses only.
PACKAGES = (
    "datasets",
    "fsspec",
    "huggingface_hub",
    "jinja2",
    "mpmath",
    "networkx",
    "numpy",
    "pandas",
    "sympy",
    "torch",
    "transformers",
)
SKIPPED_FOLDERS = {"test", "tests", "site-packages", "pydoc_data", "_vendor"}
PACKAGE_LIMIT = 2_500_000  # characters, so that no package outweighs the others
OPENING_WORDS = 5
OPENING_LIMIT = 20  # maximum number of paragraphs that begin with the same words
SHARED_RUN = 12  # consecutive words that mark a paragraph as validation text
MAX_PARAGRAPH = 4000  # characters; longer ones are tables

# Share of each source in the training windows.
SHARES = {"topics": 0.10, "standard library": 0.22, "packages": 0.68}

logger = logging.getLogger("train")


@dataclass(frozen=True, slots=True)
class Options:
    """Arguments of the command line."""

    steps: int
    seed: int
    out: Path


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of the stored model."""

    perplexity: float
    unigram_perplexity: float
    calibration_perplexity: float
    windows: int
    parameters: int
    file_bytes: int


class ParagraphFilter:
    """Drop repeated paragraphs and paragraphs of the validation part."""

    def __init__(self, held_out: Iterable[str]) -> None:
        self._openings: Counter[str] = Counter()
        keys = [paragraph_key(text) for doc in held_out for text in paragraphs(doc)]
        self._seen = set(keys)
        self._held_out_runs = {run for key in keys for run in _runs(key)}

    def apply(self, document: str) -> str:
        """Return the remaining paragraphs of a document as one text."""
        kept = [text for text in paragraphs(document) if self._passes(text)]
        return "\n\n".join(kept) + "\n" if kept else ""

    def _passes(self, paragraph: str) -> bool:
        key = paragraph_key(paragraph)
        opening = " ".join(key.split()[:OPENING_WORDS])
        passes = (
            key not in self._seen
            and len(paragraph) <= MAX_PARAGRAPH
            and self._openings[opening] < OPENING_LIMIT
            and self._held_out_runs.isdisjoint(_runs(key))
        )
        if passes:
            self._seen.add(key)
            self._openings[opening] += 1
        return passes


def main() -> None:
    """Collect the text, train, evaluate and write the folder of the model."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    options = _options()
    started = time.monotonic()
    torch.set_num_threads(THREADS)
    torch.manual_seed(options.seed)

    texts = training_texts()
    tokenizer = train_tokenizer(doc for docs in texts.values() for doc in docs)
    streams = {name: token_stream(tokenizer, docs) for name, docs in texts.items()}
    for name, stream in streams.items():
        passes = SHARES[name] * options.steps * BATCH * WINDOW / len(stream)
        logger.info("%s: %d tokens, read %.1f times", name, len(stream), passes)
    validation = token_stream(tokenizer, builtin_documents("validation"))
    model = create_model(tokenizer.eos_token_id)
    train(model, streams, options)

    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.out.parent) as name:
        folder = Path(name)
        model.half().save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        figures = evaluate_stored(folder, streams, validation)
        for file in folder.iterdir():
            file.chmod(0o644)
            file.replace(options.out / file.name)
    logger.info("%s", figures)
    logger.info("%.1f minutes in total", (time.monotonic() - started) / 60)


def training_texts() -> dict[str, list[str]]:
    """Return the training documents by source."""
    paragraph_filter = ParagraphFilter(builtin_documents("validation"))
    topics = [paragraph_filter.apply(text) for text in builtin_documents("calibration")]
    library = _documents(
        Path(sysconfig.get_path("stdlib")), paragraph_filter, limit=None
    )
    packages = []
    for name in PACKAGES:
        spec = find_spec(name)
        if spec is None or not spec.submodule_search_locations:
            logger.warning("%s is not installed; its docstrings are omitted", name)
            continue
        folder = Path(spec.submodule_search_locations[0])
        packages += _documents(folder, paragraph_filter, PACKAGE_LIMIT)
    texts = {"topics": topics, "standard library": library, "packages": packages}
    for name, documents in texts.items():
        logger.info("%s: %d characters", name, sum(map(len, documents)))
    return texts


def train_tokenizer(documents: Iterator[str]) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer, which round-trips every text."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(documents, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        clean_up_tokenization_spaces=False,
        model_max_length=2 * WINDOW,
    )


def token_stream(
    tokenizer: PreTrainedTokenizerFast, documents: list[str]
) -> torch.Tensor:
    """Concatenate the tokens of all documents, with end-of-text after each."""
    tokens: list[int] = []
    for encoding in tokenizer.backend_tokenizer.encode_batch(documents):
        tokens += [*encoding.ids, tokenizer.eos_token_id]
    return torch.tensor(tokens)


def create_model(end_of_text: int) -> LlamaForCausalLM:
    """Return the model with random weights."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=6,
        num_attention_heads=6,
        num_key_value_heads=3,
        head_dim=32,
        max_position_embeddings=2 * WINDOW,
        tie_word_embeddings=True,
        bos_token_id=end_of_text,
        eos_token_id=end_of_text,
    )
    return LlamaForCausalLM(config)


def train(
    model: LlamaForCausalLM, streams: dict[str, torch.Tensor], options: Options
) -> None:
    """Train the model in place with AdamW for `options.steps` batches."""
    weights = list(model.parameters())
    groups: list[dict[str, Any]] = [
        {"params": [w for w in weights if w.ndim > 1]},
        {"params": [w for w in weights if w.ndim == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(
        groups,
        lr=PEAK_RATE,
        betas=(0.9, 0.95),
        weight_decay=WEIGHT_DECAY,
        fused=True,
    )
    model.train()
    started, recent = time.monotonic(), 0.0
    for step, batch in enumerate(_batches(streams, options), start=1):
        for group in optimizer.param_groups:
            group["lr"] = PEAK_RATE * rate_share(step, options.steps)
        loss = token_losses(model, batch).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_NORM)
        optimizer.step()
        optimizer.zero_grad()
        recent = loss.item() if step == 1 else 0.98 * recent + 0.02 * loss.item()
        if step % 100 == 0:
            speed = step * BATCH * WINDOW / (time.monotonic() - started)
            logger.info("step %d: loss %.3f, %.0f tokens/s", step, recent, speed)


def rate_share(step: int, steps: int) -> float:
    """Return the learning rate relative to its peak: linear warm-up, then a cosine."""
    warm_up = min(WARM_UP_STEPS, steps // 5)
    if step <= warm_up:
        return step / warm_up
    cosine = 0.5 * (1 + math.cos(math.pi * (step - warm_up) / (steps - warm_up)))
    return FINAL_RATE_SHARE + (1 - FINAL_RATE_SHARE) * cosine


def token_losses(model: LlamaForCausalLM, batch: torch.Tensor) -> torch.Tensor:
    """Return the losses of all tokens but the first of each window, flattened.

    A model in training mode computes in bfloat16, which is twice as fast on processors
    that support it; a model in evaluation mode computes in float32.
    """
    with torch.autocast("cpu", torch.bfloat16, enabled=model.training):
        logits = model(input_ids=batch, use_cache=False).logits[:, :-1]
    flat = logits.float().flatten(0, 1)
    return functional.cross_entropy(flat, batch[:, 1:].flatten(), reduction="none")


@torch.no_grad()
def perplexity(model: LlamaForCausalLM, windows: torch.Tensor) -> float:
    """Return the exponential of the mean next-token loss."""
    model.eval()
    losses = [token_losses(model, batch) for batch in windows.split(BATCH)]
    return torch.cat(losses).double().mean().exp().item()


def unigram_perplexity(tokens: torch.Tensor, windows: torch.Tensor) -> float:
    """Return the perplexity of the token counts of the training text, plus one."""
    counts = torch.bincount(tokens, minlength=VOCABULARY).double() + 1
    log_shares = (counts / counts.sum()).log()
    return log_shares[windows[:, 1:]].mean().neg().exp().item()


def evaluate_stored(
    folder: Path, streams: dict[str, torch.Tensor], validation: torch.Tensor
) -> Figures:
    """Evaluate the model in `folder`, whose weights are rounded to 16 bits."""
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    windows = _windows(validation)
    return Figures(
        perplexity=perplexity(model, windows),
        unigram_perplexity=unigram_perplexity(
            torch.cat(list(streams.values())), windows
        ),
        calibration_perplexity=perplexity(model, _windows(streams["topics"])),
        windows=len(windows),
        parameters=model.num_parameters(),
        file_bytes=(folder / "model.safetensors").stat().st_size,
    )


def _options() -> Options:
    parser = argparse.ArgumentParser(description="Train the demo model from scratch.")
    parser.add_argument("--steps", type=int, default=4000, help="number of batches")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent)
    return Options(**vars(parser.parse_args()))


def _batches(
    streams: dict[str, torch.Tensor], options: Options
) -> Iterator[torch.Tensor]:
    """Yield `options.steps` batches; sources of windows are drawn by their shares."""
    generator = torch.Generator().manual_seed(options.seed)
    sources = [_shuffled_windows(streams[name], generator) for name in SHARES]
    shares = torch.tensor(list(SHARES.values()))
    for _ in range(options.steps):
        drawn = torch.multinomial(shares, BATCH, replacement=True, generator=generator)
        yield torch.stack([next(sources[index]) for index in drawn.tolist()])


def _shuffled_windows(
    tokens: torch.Tensor, generator: torch.Generator
) -> Iterator[torch.Tensor]:
    """Yield all windows in random order, repeatedly, with a new offset each time."""
    while True:
        offset = int(torch.randint(WINDOW, (1,), generator=generator))
        windows = _windows(tokens[offset:])
        yield from windows[torch.randperm(len(windows), generator=generator)]


def _windows(tokens: torch.Tensor) -> torch.Tensor:
    """Return consecutive windows without overlap; drop the incomplete last one."""
    count = len(tokens) // WINDOW
    return tokens[: count * WINDOW].view(count, WINDOW)


def _documents(
    folder: Path, paragraph_filter: ParagraphFilter, limit: int | None
) -> list[str]:
    """Return one document of docstrings per source file, up to `limit` characters.

    The order of the files is fixed but mixes the sub-folders, so that the limit does
    not select them alphabetically.
    """
    documents: list[str] = []
    length = 0
    files = sorted(folder.rglob("*.py"), key=lambda file: _fixed_order(file, folder))
    for file in files:
        if SKIPPED_FOLDERS.isdisjoint(file.relative_to(folder).parts):
            document = paragraph_filter.apply("\n\n".join(_docstrings(file)))
            length += len(document)
            if limit is not None and length > limit:
                break
            documents += [document] if document else []
    return documents


def _fixed_order(file: Path, folder: Path) -> tuple[int, str]:
    name = file.relative_to(folder).as_posix()
    return zlib.crc32(name.encode()), name


def _docstrings(file: Path) -> Iterator[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            tree = ast.parse(file.read_bytes())
        except (SyntaxError, ValueError):
            return
    for node in ast.walk(tree):
        if isinstance(
            node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        ):
            yield ast.get_docstring(node) or ""


def _runs(key: str) -> Iterator[tuple[str, ...]]:
    words = key.split()
    for start in range(len(words) - SHARED_RUN + 1):
        yield tuple(words[start : start + SHARED_RUN])


if __name__ == "__main__":
    main()
