"""The guide shows pictures that exist, and names chapters that exist."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
GUIDE = (DOCS / "guide.md").read_text(encoding="utf-8")


def test_every_picture_of_the_guide_exists_and_is_made_by_the_script():
    script = (DOCS / "screenshots.py").read_text(encoding="utf-8")
    shown = re.findall(r"\]\(pictures/(.*?)\.png\)", GUIDE)
    assert len(shown) > 5
    for name in shown:
        assert f'"{name.removesuffix("-dark")}"' in script
    there = {path.stem for path in (DOCS / "pictures").glob("*.png")}
    assert there == set(shown), "`make screenshots`"


def test_every_chapter_that_is_linked_exists():
    headings = re.findall(r"^#+ (.*)$", GUIDE, re.MULTILINE)
    anchors = {
        re.sub(r"[^\w -]", "", h).strip().lower().replace(" ", "-") for h in headings
    }
    linked = set(re.findall(r"\]\(#(.*?)\)", GUIDE))
    assert linked
    assert linked <= anchors
