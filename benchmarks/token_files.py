"""Cut a text into windows of tokens and write them to a token file.

    python benchmarks/token_files.py MODEL TEXT OUT.npy --length 512 [--windows 16]
    python benchmarks/token_files.py MODEL TEXT OUT.npy --starts 76372 240925 [...]

Without --starts, the windows follow each other from the first token on, and the
incomplete last one is dropped. No special tokens are added. docs/results.md lists the
files behind its figures.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

import numpy as np

from surgeon_engine.model.source import locate
from surgeon_engine.model.tokenizer import load_tokenizer


def main(arguments: list[str] | None = None) -> int:
    """Write the file; return 1 if there is no tokenizer, or too little text."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.out.suffix != ".npy":
        parser.error(f"{options.out} is no .npy file")
    tokenizer = load_tokenizer(locate(options.model))
    if tokenizer is None:
        print(f"{options.model} has no tokenizer.", file=sys.stderr)
        return 1
    with options.text.open(encoding="utf-8", newline="") as file:  # line ends unchanged
        tokens = np.array(
            tokenizer(file.read(), add_special_tokens=False)["input_ids"], np.int32
        )
    length = options.length
    max_windows = len(tokens) // length
    starts = options.starts or [
        length * number for number in range(options.windows or max_windows)
    ]
    if not starts or min(starts) < 0 or max(starts) + length > len(tokens):
        print(
            f"{options.text} has {len(tokens):,} tokens: too few for these windows.",
            file=sys.stderr,
        )
        return 1
    np.save(options.out, np.stack([tokens[start : start + length] for start in starts]))
    digest = hashlib.sha256(options.out.read_bytes()).hexdigest()
    print(f"{options.out}: {len(starts)} windows of {length}, sha256 {digest}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Cut a text into windows of tokens and write a token file."
    )
    parser.add_argument("model", help="folder or .gguf file with the tokenizer")
    parser.add_argument("text", type=Path, help="a text file in UTF-8")
    parser.add_argument("out", type=Path, help="the .npy file to write")
    parser.add_argument("--length", type=int, default=256, help="tokens of a window")
    selection = parser.add_mutually_exclusive_group()
    selection.add_argument(
        "--windows", type=int, help="number of windows (default: all)"
    )
    selection.add_argument(
        "--starts", type=int, nargs="+", help="the first token of each window, from 0"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
