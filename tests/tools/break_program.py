"""Break the program at random places, one at a time: do the tests notice?

    python -m tests.tools.break_program [--places 40] [--seed 0] [--minutes 25]

A place is an operator, a number or a truth value within a function. `<` becomes `<=`,
`and` becomes `or`, `not` goes, a number grows by one. Each change is made in a copy of
the tracked files. The tests in the folder that mirrors the module's run first, then all
of `make quick` that can import the module. A test that fails without the change, too,
does not count. Changes that no test notices are printed with their lines.
"""

import argparse
import ast
import io
import itertools
import math
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import tokenize
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
QUICK = "not slow and not runtimes and not gpu"
_TIMEOUT_S = 900
_KNOWN_TO_THE_WINDOW = ("api", "base", "planning")  # rooms of the engine
_OTHER = {
    **{"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "=="},
    **{"+": "-", "-": "+", "//": "*", "%": "+", "+=": "-=", "-=": "+="},
    **{"and": "or", "or": "and", "not": "", "True": "False", "False": "True"},
}


@dataclass(frozen=True)
class Place:
    """A token of a module, and the token that replaces it to break the program."""

    path: str
    line: int  # from 1
    column: int  # from 0
    before: str
    after: str


def places(source: str, path: str) -> list[Place]:
    """Return the places of a module."""
    inside = set[int]()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            inside.update(range(node.body[0].lineno, (node.end_lineno or 0) + 1))
    tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    found = []
    for token, following in itertools.pairwise(tokens):
        after = _OTHER.get(token.string)
        if token.type == tokenize.NUMBER and token.string.isdigit():
            after = str(int(token.string) + 1)
        is_other_word = token.string == "not" and following.string == "in"
        if after is not None and token.start[0] in inside and not is_other_word:
            found.append(Place(path, *token.start, token.string, after))
    return found


def broken(source: str, place: Place) -> str:
    """Return the module with the token at a place changed."""
    lines = source.splitlines(keepends=True)
    line = lines[place.line - 1]
    end = place.column + len(place.before)
    lines[place.line - 1] = line[: place.column] + place.after + line[end:]
    return "".join(lines)


def tests_beside(path: str, root: Path = ROOT) -> str:
    """Return the folder of tests that mirrors a module's."""
    package, *folders, _ = Path(path).parts
    beside = root / "tests" / package.removeprefix("surgeon_")
    for folder in folders:
        if (beside / folder).is_dir():
            beside /= folder
    return str(beside.relative_to(root))


def tests_beyond(path: str, root: Path = ROOT) -> list[str]:
    """Return the tests that can import a module; empty: all tests.

    The window does not know most rooms of the engine, and the engine no window.
    """
    package, room, *_ = Path(path).parts
    if package == "surgeon_gui":
        of_engine = (root / "tests" / "engine").rglob("test_*.py")
        users = [x for x in of_engine if "surgeon_gui" in x.read_text()]
        found = [str(x.relative_to(root)) for x in users]
        return ["tests/gui", "tests/integration", "tests/benchmarks", *found]
    return [] if room in _KNOWN_TO_THE_WINDOW else ["tests", "--ignore=tests/gui"]


def _failing_test(copy: Path, tests: list[str]) -> str:
    """Return the first test that fails in a copy of the program; "" if none does."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-m", QUICK]
    command += ["-n", "3", "--dist", "worksteal", "-p", "no:cacheprovider", *tests]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(copy)}
    try:
        ended = subprocess.run(
            command,
            check=False,
            cwd=copy,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        return "no end"
    if ended.returncode in (0, 5):  # 5: there is no test
        return ""
    failed = [x for x in ended.stdout.splitlines() if x.startswith(("FAILED", "ERROR"))]
    return failed[0].split(" - ")[0] if failed else f"exit code {ended.returncode}"


def main() -> int:
    """Break the program and report which changes were noticed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--places", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=math.inf)
    given = parser.parse_args()
    end = time.monotonic() + 60 * given.minutes
    listed = ["git", "ls-files", "surgeon_engine/**.py", "surgeon_gui/**.py"]
    paths = subprocess.check_output(listed, cwd=ROOT, text=True).split()
    all_places = [y for x in paths for y in places((ROOT / x).read_text(), x)]
    chosen = random.Random(given.seed).sample(all_places, given.places)
    tried = unnoticed = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        tracked = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True)
        for path in tracked.splitlines():
            (copy / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / path, copy / path)
        for place in chosen:
            if time.monotonic() > end:
                break
            tried += 1
            file = copy / place.path
            source = file.read_text()
            file.write_text(broken(source, place))
            beside = tests_beside(place.path)
            failed = _failing_test(copy, [beside])
            failed = failed or _failing_test(copy, tests_beyond(place.path))
            file.write_text(source)
            if "::" in failed and _failing_test(copy, [failed.split()[-1]]):
                failed = ""  # it fails without the change, too
            unnoticed += not failed
            where = f"{place.path}:{place.line}: {place.before} -> {place.after}"
            line = source.splitlines()[place.line - 1].strip()
            print(f"{tried:3} {where}: {failed or f'UNNOTICED: {line}'}", flush=True)  # noqa: T201
    print(f"{tried - unnoticed} of {tried} changes were noticed")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
