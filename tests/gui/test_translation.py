"""All words go through the catalogues, and these are complete."""

from __future__ import annotations

import ast
import gettext
import importlib.util
import io
import re
import string
from pathlib import Path

import pytest

from surgeon_gui import translation
from surgeon_gui.translation import ENGLISH, LANGUAGES

ROOT = Path(__file__).parents[2]
GUI = sorted((ROOT / "surgeon_gui").rglob("*.py"))
OTHERS = [language for language in LANGUAGES if language != ENGLISH]

MARKUP = re.compile(r"</?\w|=\"|>$|: [^;\n]+;")  # of HTML and of style sheets
WORD = re.compile(r"[^\W\d_]{2,}")
# Calls whose words nobody sees in the window, or that make no sentence of them.
NAMES = {"LLM Surgeon", "Qt, PySide"}
UNSEEN = {
    "getLogger",
    "add_argument",
    "ArgumentParser",
    "setProperty",
    "TypeVar",
    "QFont",
}
LOGGING = {"debug", "info", "warning", "error", "exception", "critical"}
# What a terminal shows, and style sheets.
NOT_IN_THE_WINDOW = {"__main__.py", "demo.py", "theme.py"}
SHOWING = {  # calls that show what they are given: single words count too
    *("setText", "setToolTip", "setTitle", "setWindowTitle", "setPlaceholderText"),
    *("setAccessibleName", "setAccessibleDescription", "setInformativeText"),
    *("addMenu", "addAction", "addItem", "showMessage"),
    *("QLabel", "QPushButton", "QToolButton", "QCheckBox", "QRadioButton", "QGroupBox"),
    *("QAction", "QMenu", "Caption", "Collapsible", "heading", "text_label", "Failed"),
}
SHOWN_ARGUMENTS = {"label", "text", "title", "toolTip", "placeholderText", "words"}


def make_script():
    path = ROOT / "resources" / "translations" / "make.py"
    spec = importlib.util.spec_from_file_location("make_translations", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def make():
    return make_script()


@pytest.fixture(scope="module")
def said(make):
    return {message.id for message in make.said() if message.id}


@pytest.mark.parametrize("language", OTHERS)
def test_everything_that_is_said_is_translated(make, said, language):
    known = {message.id: message.string for message in make.translated(language)}
    complete = {id for id, words in known.items() if id and all_of(words)}
    assert sorted(map(str, said - complete)) == [], "`make translations` adds them"
    assert sorted(map(str, set(known) - said - {""})) == [], "no longer said"


@pytest.mark.parametrize("language", OTHERS)
def test_translations_have_the_placeholders_of_the_original(make, language):
    for message in make.translated(language):
        if not message.id:
            continue
        for original, words in pairs(message):
            assert fields(original) == fields(words), (original, words)


@pytest.mark.parametrize("language", OTHERS)
def test_what_the_window_reads_is_what_was_written(make, language):
    read = gettext.GNUTranslations(
        io.BytesIO(make.path_of(language, ".mo").read_bytes())
    )
    for message in make.translated(language):
        if not message.id:
            continue
        if isinstance(message.id, tuple):
            words = [read.ngettext(*message.id, n) for n in (1, 2)]
            assert words == list(message.string)
        else:
            assert read.gettext(message.id) == message.string


@pytest.mark.parametrize("language", OTHERS)
def test_a_translation_ends_as_the_original_does(make, language):
    for message in make.translated(language):
        for original, words in pairs(message) if message.id else ():
            for end in (".", "…", "?", ":", " "):
                assert original.endswith(end) is words.endswith(end), words
            assert original.count("\n") == words.count("\n")
            assert ("&" in original) is ("&" in words), words


@pytest.mark.parametrize("path", GUI, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_words_go_past_the_catalogue(path):
    if path.name not in NOT_IN_THE_WINDOW:
        assert untranslated(path.read_text()) == []


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ('label.setText("Nothing")', 1),
        ('label.setText(tr("Nothing"))', 0),
        ('words = "Nothing has happened."', 1),
        ('words = f"{n} of all layers"', 1),
        ('words = tr("{n} of all layers").format(n=n)', 0),
        ('name = "open_folder_action open_gguf_action"', 0),
        ('_log.warning("This is for a file")', 0),
        ('QLabel(f"{n:,} {_DASH}")', 0),
        ('label.setText(f"{n} left")', 1),
        ('InfiniteLine(label="original", name="line")', 1),
    ],
)
def test_words_that_go_past_the_catalogue_are_found(code, found):
    assert len(untranslated(code)) == found


def test_a_template_is_never_filled_before_it_is_looked_up():
    for path in GUI:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and called(node) in {"tr", "ntr"}:
                assert not any(isinstance(a, ast.JoinedStr) for a in node.args), path


def test_the_first_language_that_there_is_is_taken():
    assert translation.known("fr_FR", "de-AT", "en") == "de"
    assert translation.known("fr", "ja") == ENGLISH
    assert translation.known("DE") == "de"


def test_words_come_in_the_language_that_was_chosen():
    try:
        translation.use("de")
        assert translation.tr("Sparsity") == "Sparsität"
        assert translation.ntr("{n} token", "{n} tokens", 2) == "{n} Tokens"
        assert translation.tr("never said") == "never said"
        assert translation.tr("") == ""
        assert translation.inside("Köpfe und Neuronen") == "Köpfe und Neuronen"
        assert translation.with_marks("1,234.5") == "1.234,5"
    finally:
        translation.use(ENGLISH)
    assert translation.tr("Sparsity") == "Sparsity"
    assert translation.inside("Heads and neurons") == "heads and neurons"
    assert translation.with_marks("1,234.5") == "1,234.5"


def all_of(words) -> bool:
    return all(words) if isinstance(words, tuple | list) else bool(words)


def forms(words) -> list[str]:
    return list(words) if isinstance(words, tuple | list) else [words]


def pairs(message) -> list[tuple[str, str]]:
    return list(zip(forms(message.id), forms(message.string), strict=True))


def fields(template: str) -> list[str]:
    return sorted(f"{n}:{s}" for _, n, s, _ in string.Formatter().parse(template) if n)


def called(node: ast.Call) -> str:
    function = node.func
    return (
        function.attr
        if isinstance(function, ast.Attribute)
        else (function.id if isinstance(function, ast.Name) else "")
    )


def untranslated(code: str) -> list[str]:
    """The literals with words in them that are not given to `tr`."""
    found: list[str] = []
    tree = ast.parse(code)
    _look(tree, found, is_shown=False)
    return found


def plain(text: str) -> str:
    """Without what is a name of something in the code."""
    return re.sub(r"\w*[_.]\w+", "", text)


def _look(node: ast.AST, found: list[str], *, is_shown: bool) -> None:
    if isinstance(node, ast.Raise | ast.Assert) or _is_docstring(node):
        return
    if isinstance(node, ast.FunctionDef) and node.name == "rows":
        return  # of a CSV file, which programs read
    if isinstance(node, ast.Subscript | ast.Attribute):
        is_shown = False  # a key, or the object of a call
    if isinstance(node, ast.Call):
        name = called(node)
        if name in {"tr", "ntr"} | UNSEEN or (name in LOGGING and _is_log(node)):
            return
        if name not in {"format", "join", "strip"}:
            is_shown = name in SHOWING
    if isinstance(node, ast.keyword) and node.arg in SHOWN_ARGUMENTS:
        is_shown = True
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        words = [] if MARKUP.search(node.value) else WORD.findall(plain(node.value))
        is_sentence = len(words) > 1 and " " in node.value
        if (is_sentence or (words and is_shown)) and node.value not in NAMES:
            found.append(f"line {node.lineno}: {node.value}")
    for child in ast.iter_child_nodes(node):
        _look(child, found, is_shown=is_shown)


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_log(node: ast.Call) -> bool:
    owner = node.func.value if isinstance(node.func, ast.Attribute) else None
    return isinstance(owner, ast.Name) and owner.id == "_log"
