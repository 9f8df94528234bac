"""Links, pictures, commands and figures of the documents are right."""

import re
from pathlib import Path

import pytest

from benchmarks import fidelity
from surgeon_engine.base import versions

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def flowing(text: str) -> str:
    """Return a text without its line breaks."""
    return " ".join(text.split())


def test_changelog_and_guide_are_short():
    changes = read("CHANGELOG.md").split("\n## ")[1:]
    assert max(each.count("\n") for each in changes) <= 60
    assert len(read("docs/guide.md").split()) <= 5_000


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {
        re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-")
        for heading in headings
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_link_leads_to_a_file_and_chapter(page):
    broken = []
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        if "://" in target:
            continue
        file = (page.parent / path) if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


def test_every_picture_of_the_guide_is_made_by_the_script():
    script = read("docs/screenshots.py")
    shown = re.findall(r"\]\(pictures/(.*?)\.png\)", read("docs/guide.md"))
    assert len(shown) > 5
    for name in shown:
        assert f'"{name.removesuffix("-dark")}"' in script
    there = {path.stem for path in (DOCS / "pictures").glob("*.png")}
    assert there == set(shown), "`make screenshots`"


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs/releasing.md"])
def test_every_make_target_exists(page):
    targets = set(re.findall(r"^([\w-]+):", read("Makefile"), re.MULTILINE))
    named = set(re.findall(r"(?:^ *|`)make ([a-z-]+)[\s`]", read(page), re.M))
    assert named
    assert named <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_script_and_folder_of_the_project_exists(page):
    text = page.read_text(encoding="utf-8")
    folders = "benchmarks|tests|resources|surgeon_engine|surgeon_gui"
    named = re.findall(rf"\b(?:{folders})/[\w./-]*\w", text)
    assert [each for each in named if not (ROOT / each).exists()] == []


def test_every_command_of_the_readme_exists_with_its_options():
    from typer.main import get_command

    from surgeon_engine.cli.main import app

    commands = get_command(app).commands
    lines = re.findall(r"^    surgeon ([\w-]+)(.*)$", read("README.md"), re.MULTILINE)
    assert len(lines) > 8
    for name, rest in lines:
        known = {option for each in commands[name].params for option in each.opts}
        assert set(re.findall(r"(--[\w-]+)", rest.partition("#")[0])) <= known


def test_quality_in_the_documents_is_that_of_the_result_file():
    assert fidelity.headline() in flowing(read("README.md"))
    assert fidelity.usual() in flowing(read("docs/guide.md"))
    assert fidelity.table() in read("docs/results.md")


def test_headline_is_made_of_the_default_run_and_its_rival():
    ours = fidelity.first_draw(fidelity.DEFAULT, 30)
    rival = fidelity.first_draw(fidelity.RIVAL, 30)
    numbers = [
        f"{each:.2f}"
        for run in (ours, rival)
        for each in (run.same_kind.mean, run.other_kind.mean)
    ]
    assert re.findall(r"\d\.\d+", fidelity.headline()) == numbers


def test_versions_in_the_table_of_formats_are_those_of_the_code():
    rows = re.findall(
        r"^\| `([\w.-]+)`.*?\| `version`: (\d+)", read("docs/formats.md"), re.MULTILINE
    )
    assert {name: int(version) for name, version in rows} == {
        "run.toml": versions.JOB,
        "events.jsonl": versions.LOG,
        "report.json": versions.REPORT,
        "judgment.json": versions.JUDGMENT,
        "state.json": versions.STATE,
        "surgeon-export.json": versions.EXPORT,
        "kept.indices": versions.PLAN,
        "queue.json": versions.QUEUE,
    }


def test_files_and_folders_in_the_architecture_exist():
    text = read("ARCHITECTURE.md")
    tree = text.split("```\nsurgeon_engine/\n")[1].split("```")[0]
    folders = re.findall(r"^ +(\w+)/ ", tree, re.MULTILINE)
    names = set(re.findall(r"\b[\w/]+\.py\b", text)) | {f"{x}/" for x in folders}
    tops = ("surgeon_engine", "surgeon_gui", "tests", "benchmarks", "docs", "resources")
    found = [path for top in tops for path in (ROOT / top).rglob("*.py")]
    known = {path.relative_to(ROOT).as_posix() for path in found}
    known |= {f"{Path(path).parent.as_posix()}/" for path in known}
    assert len(folders) > 20
    missing = [x for x in names if not any(y.endswith(f"/{x}") for y in known)]
    assert [x for x in missing if x not in known] == []
