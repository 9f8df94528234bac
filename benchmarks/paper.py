"""Measure the tables of the LLM Surgeon paper and print its figures beside these.

    python benchmarks/paper.py --models opt-125m --structures "rows and columns"

Without arguments: all models, all structures. Models and WikiText-2 are downloaded from
the Hugging Face Hub; large models need a large GPU and hours. Repeating the command
continues interrupted tables. See `--help`.
"""

from __future__ import annotations

import sys

from quality_table.paper import main

if __name__ == "__main__":
    sys.exit(main())
