"""MkDocs hook: add pages from outside docs/ to the site and adapt their links.

Markdown files link to each other by their paths in the repository, so that links work
where the repository is browsed. This hook adds the files listed in `PAGES` and the
benchmark results to the site, and rewrites links between pages to their places there.
A link to a file that is not a page of the site becomes plain text. A link to a file
that does not exist is left as it is; the strict build then fails on it. The page about
the names of controls is generated in a process of its own, because it opens a window.
"""

from __future__ import annotations

import posixpath
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
# Path in the repository -> path in the site.
PAGES = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "architecture.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "resources/demo/README.md": "resources/demo.md",
}
RESULTS = "benchmarks/results/*.md"
OBJECTS = "objects.md"

_LINK = re.compile(
    r"(?P<text>!?\[[^\]]*\])\((?P<target>[^)#\s]+)(?P<anchor>#[^)\s]*)?\)"
)


def outside_pages() -> dict[str, str]:
    """Return the pages from outside docs/: path in the repository -> in the site."""
    results = (path.relative_to(ROOT).as_posix() for path in ROOT.glob(RESULTS))
    return PAGES | {path: path for path in results}


def on_files(files: Any, config: Any) -> Any:
    """Add the generated page and the pages from outside docs/ to the site."""
    for source, page in outside_pages().items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    files.append(File.generated(config, OBJECTS, content=names_of_controls()))
    return files


def names_of_controls() -> str:
    """Return the page about the object names of all controls."""
    script = ROOT / "docs" / "generate_objects.py"
    done = subprocess.run(
        [sys.executable, str(script)], check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout


def on_page_markdown(markdown: str, page: Any, files: Any, **_: Any) -> str:
    """Rewrite the links of a page from repository paths to site paths."""
    in_site = {f"docs/{file.src_uri}": file.src_uri for file in files}
    in_site |= outside_pages()  # the last entry of a page is its real source
    here = page.file.src_uri
    source = {uri: path for path, uri in in_site.items()}[here]

    def adapted(link: re.Match[str]) -> str:
        target = link["target"]
        if "://" in target:
            return link[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if path in in_site:
            moved = posixpath.relpath(in_site[path], posixpath.dirname(here) or ".")
            return f"{link['text']}({moved}{link['anchor'] or ''})"
        is_image = link["text"].startswith("!")
        if (ROOT / path).exists() and not is_image:
            return link["text"].removeprefix("[").removesuffix("]")
        return link[0]

    return _LINK.sub(adapted, markdown)
