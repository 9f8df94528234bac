"""Prune a model by the jobs of a plan and tabulate its quality.

    python benchmarks/quality.py MODEL --plan benchmarks/plans/reference.toml \
        --calibration calib.npy --validation test.npy --other other.txt \
        --out results/reference

Writes OUT.jsonl, one line per measurement, and from it OUT.csv and OUT.md. Repeating
the command continues an interrupted table: it skips complete runs with the same model,
tokens and settings, and resumes an interrupted one after its last shot, from its state
in OUT.state. See `--help`.
"""

from __future__ import annotations

import sys

from quality_table.command import main

if __name__ == "__main__":
    sys.exit(main())
