"""What models are worth after pruning: a table of jobs, sparsities and figures.

    python benchmarks/quality.py MODEL --plan benchmarks/plans/reference.toml \
        --calibration calib.npy --validation test.npy --out results/reference

Writes OUT.jsonl, one line for each measurement, and from it OUT.csv and OUT.md. The
same command goes on: runs that are complete, with the same model, tokens and settings,
are not done again, and one that was interrupted begins anew. See `--help`.
"""

from __future__ import annotations

import sys

from quality_table.command import main

if __name__ == "__main__":
    sys.exit(main())
