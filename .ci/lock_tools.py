"""Write requirements-dev.txt: the versions of the development tools, as constraints.

Run by `make lock` in the virtual environment that `make setup` creates. Takes the tools
from the extras `test` and `docs` of the installed package, follows their requirements,
and leaves out every package that Surgeon itself requires: torch and the like depend on
the machine, and pyproject.toml gives their ranges.
"""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = "surgeon"
TOOLS = ("test", "docs")
RUNTIME = ("", "desktop", "runtimes")
HEADER = """\
# Versions of the development tools, as constraints for pip:
#
#     pip install --constraint requirements-dev.txt --editable '.[test,docs]'
#
# Holds no package that Surgeon itself requires. Made by `make lock` from the installed
# versions, for Python 3.11 to 3.13; do not edit by hand.
"""


def required(name: str, extra: str) -> list[Requirement]:
    """Return the requirements of an installed package under one extra."""
    lines = metadata.requires(name) or []
    requirements = map(Requirement, lines)
    return [
        r for r in requirements if not r.marker or r.marker.evaluate({"extra": extra})
    ]


def closure(name: str, extras: tuple[str, ...]) -> set[str]:
    """Return the names of all installed packages that `name` requires."""
    found: set[str] = set()
    todo = [(name, extra) for extra in extras]
    done = set()
    while todo:
        package, extra = todo.pop()
        if (package, extra) in done:
            continue
        done.add((package, extra))
        for requirement in required(package, extra):
            other = canonicalize_name(requirement.name)
            try:
                metadata.version(other)
            except metadata.PackageNotFoundError:
                continue  # an extra that is not installed here
            found.add(other)
            todo += [(other, each) for each in ("", *requirement.extras)]
    return found - {name}


def main() -> int:
    """Write the file."""
    base = closure(PROJECT, RUNTIME)
    of_extras = {
        canonicalize_name(r.name)
        for extra in TOOLS
        for r in required(PROJECT, extra)
        if r not in required(PROJECT, "")
    }
    tools = (closure(PROJECT, TOOLS) - base) | of_extras
    lines = [f"{name}=={metadata.version(name)}\n" for name in sorted(tools)]
    path = Path("requirements-dev.txt")
    path.write_text(HEADER + "\n" + "".join(lines), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
