"""Run the command line: `python -m surgeon_engine`."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        # The window waits for this: skip the libraries of the command line.
        from surgeon_engine.runtime.greeting import greet

        output = greet()
        from surgeon_engine.server import serve_standard_streams

        serve_standard_streams(output)
    else:
        from surgeon_engine.cli.main import main

        sys.exit(main())
