"""Run the command line: `python -m surgeon_engine`."""

from __future__ import annotations

from surgeon_engine.cli.main import main

if __name__ == "__main__":
    main()
