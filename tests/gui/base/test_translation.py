"""All texts are translated, and the catalogs are complete and consistent."""

import ast
import functools
import gettext
import importlib.util
import io
import re
import string
from pathlib import Path
from typing import get_args
from unittest.mock import Mock

import msgspec
import pytest

from surgeon_engine.api.config.pruning import SAME_WIDTHS
from surgeon_engine.api.config.run import ON_CPU, RunConfig
from surgeon_engine.api.messages.events import Event
from surgeon_engine.base import sentences
from surgeon_engine.base.calls import Refused
from surgeon_engine.base.sentences import Sentence, say, use_names
from surgeon_engine.planning.resource_check import (
    AdjustedConfig,
    Change,
    describe_changes,
)
from surgeon_gui.base import translation
from surgeon_gui.base.translation import ENGLISH, LANGUAGES
from surgeon_gui.text import labels
from tests.helpers.untranslated import called, untranslated

ROOT = Path(__file__).parents[3]
GUI = sorted((ROOT / "surgeon_gui").rglob("*.py"))
ENGINE = sorted((ROOT / "surgeon_engine").rglob("*.py"))
# Terminal output, style sheets, prompts for models and names of programs.
NOT_IN_THE_WINDOW = {"__main__.py", "demo.py", "colors.py", "theme.py", "prompts.py"}
NOT_IN_THE_WINDOW |= {"search_words.py"}


OTHERS = [language for language in LANGUAGES if language != ENGLISH]


def make_script():
    path = ROOT / "resources" / "translations" / "make.py"
    spec = importlib.util.spec_from_file_location("make_translations", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def make():
    """Return the script, which reads each catalog once."""
    made = make_script()
    made.read_catalog = functools.cache(made.read_catalog)
    return made


@pytest.fixture(scope="module")
def msgids(make):
    return {message.id for message in make.extract_messages() if message.id}


@pytest.mark.slow
@pytest.mark.parametrize("language", OTHERS)
def test_catalog_is_complete(make, msgids, language):
    known = {message.id: message.string for message in make.read_catalog(language)}
    complete = {id for id, words in known.items() if id and all_of(words)}
    assert sorted(map(str, msgids - complete)) == [], "`make translations` adds them"
    assert sorted(map(str, set(known) - msgids - {""})) == [], "no longer used"


@pytest.mark.parametrize("language", OTHERS)
def test_compiled_catalog_equals_source(make, language):
    read = gettext.GNUTranslations(
        io.BytesIO(make.path_of(language, ".mo").read_bytes())
    )
    for message in done_messages(make, language):
        if isinstance(message.id, tuple):
            text = [read.ngettext(*message.id, n) for n in (1, 2)]
            assert text == list(message.string)
        else:
            assert read.gettext(message.id) == message.string


@pytest.mark.parametrize("language", OTHERS)
def test_translations_have_placeholders_and_signs_of_the_original(make, language):
    for message in done_messages(make, language):
        for original, text in pairs(message):
            assert fields(original) == fields(text), (original, text)
            for end in (".", "…", "?", ":", " "):
                assert original.endswith(end) is text.endswith(end), text
            assert original.count("\n") == text.count("\n")
            assert ("&" in original) is ("&" in text), text


@pytest.mark.slow
def test_no_module_has_untranslated_text():
    modules = [path for path in GUI if path.name not in NOT_IN_THE_WINDOW]
    found = {str(p.relative_to(ROOT)): untranslated(p.read_text()) for p in modules}
    assert {path: texts for path, texts in found.items() if texts} == {}


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
        ('text_label("Nothing", name=f"plan_{name}")', 1),
    ],
)
def test_untranslated_finds_text_outside_tr(code, found):
    assert len(untranslated(code)) == found


@pytest.mark.slow
def test_texts_to_translate_are_literals_outside_of_f_strings():
    """The extraction of messages finds no others."""
    found = []
    for path in GUI:
        for outer in ast.walk(ast.parse(path.read_text())):
            is_call, is_format = (
                isinstance(outer, kind) for kind in (ast.Call, ast.JoinedStr)
            )
            if is_call and called(outer) in {"tr", "ntr"}:
                found += [outer for x in outer.args if isinstance(x, ast.JoinedStr)]
            found += [
                node
                for node in (ast.walk(outer) if is_format else ())
                if isinstance(node, ast.Call) and called(node) in {"tr", "ntr"}
                if any(isinstance(argument, ast.Constant) for argument in node.args)
            ]
    assert [ast.unparse(node) for node in found] == []


@pytest.mark.slow
def test_sentences_of_the_engine_are_templates_with_all_their_values(make):
    for path in ENGINE:
        for node in make.calls_of_sentences(path.read_text()):
            check_sentence(make, node, f"{path.relative_to(ROOT)}: {node.lineno}")


def check_sentence(make, node: ast.Call, where: str) -> None:
    templates = make.templates_of(node)
    given = {each.arg for each in node.keywords} - {"settings"}
    assert templates or called(node) != "say", where
    found = [set(sentences.fields(each)) for each in templates]
    assert set().union(*found) == (given if templates else set()), where
    assert not any(isinstance(x, ast.JoinedStr) for x in node.args), where


@pytest.mark.parametrize(
    ("code", "templates"),
    [
        ('say("a")', ["a"]),
        ('ConfigError("a", say("b"))', ["a"]),
        ('ConfigError("a" if x else "b", "c", x=x)', ["a", "b", "c"]),
        ('ConnectionFailed(error.message, "b")', ["b"]),
        ('context.warn("a", b="c")', ["a"]),
    ],
)
def test_templates_are_found_in_sentences_and_errors(make, code, templates):
    call, *_ = make.calls_of_sentences(code)
    assert make.templates_of(call) == templates


def test_events_and_answers_carry_sentences():
    """A text in a field of another type would not be read."""
    for kind in (*get_args(Event), Refused):
        for field in msgspec.structs.fields(kind):
            if field.name in {"message", "hint"}:
                assert field.type is Sentence, (kind, field.name)


def test_known_returns_first_available_language():
    assert translation.known("fr_FR", "de-AT", "en") == "de"
    assert translation.known("fr", "ja") == ENGLISH
    assert translation.known("DE") == "de"


def test_texts_use_chosen_language():
    try:
        translation.use("de")
        assert translation.tr("Sparsity") == "Sparsität"
        assert translation.ntr("{n} token", "{n} tokens", 2) == "{n} Tokens"
        assert translation.tr("not in the catalog") == "not in the catalog"
        assert translation.tr("") == ""
        assert translation.inside("Köpfe und Neuronen") == "Köpfe und Neuronen"
    finally:
        translation.use(ENGLISH)
    assert translation.tr("Sparsity") == "Sparsity"
    assert translation.inside("Heads and neurons") == "heads and neurons"


def done_messages(make, language):
    """Return the translated messages; another test lists the others."""
    return [m for m in make.read_catalog(language) if m.id and all_of(m.string)]


def all_of(text) -> bool:
    return all(text) if isinstance(text, tuple | list) else bool(text)


def forms(text) -> list[str]:
    return list(text) if isinstance(text, tuple | list) else [text]


def pairs(message) -> list[tuple[str, str]]:
    return list(zip(forms(message.id), forms(message.string), strict=True))


def fields(template: str) -> list[str]:
    return sorted(f"{n}:{s}" for _, n, s, _ in string.Formatter().parse(template) if n)


PERMANENT = (
    *("&File", "&Edit", "&Run", "&View", "&Help", "&Try the bundled demo", "&Start"),
)


@pytest.mark.parametrize("language", LANGUAGES)
def test_mnemonics_of_permanent_controls_are_unique(make, language):
    known = {id: id for id in PERMANENT}
    if language != ENGLISH:
        known = {m.id: m.string for m in make.read_catalog(language)}
    labels = [known[id] for id in PERMANENT]
    keys = [label[label.index("&") + 1].upper() for label in labels]
    assert len(set(keys)) == len(keys), labels


def test_window_names_choices_and_settings_of_a_job():
    changes = (Change("export.save_progress", before=True, after=False),)
    fitted = AdjustedConfig(RunConfig(), changes, Mock())
    in_job = "export.save_progress = false instead of true"
    assert describe_changes(fitted) == in_job
    labels.name_settings()
    try:
        assert say("{x:choice}", x="rows_and_columns") == "rows and columns"
        assert say("{x:choice}", x="pruning.dropped_blocks") == "“Whole blocks”"
        same = say("{x:choice}", x=SAME_WIDTHS)
        assert same == "“Widths”: “The same in all layers”"
        assert say("{x:choice}", x=ON_CPU) == "“Compute on”: “CPU”"
        named = in_job.replace("false", "No").replace("true", "Yes")
        label = "“Save the progress”"
        assert describe_changes(fitted) == named.replace("export.save_progress", label)
    finally:
        use_names({})
    assert say("{x:choice}", x="rows_and_columns") == "rows_and_columns"
    assert say("{x:choice}", x="pruning.sparsity") == "pruning.sparsity"


def test_no_sentence_of_the_engine_has_the_key_of_a_setting(make):
    keys = {name.partition(".")[2] for name in labels.FIELDS}
    words = re.compile(rf"(?<![{{\w])({'|'.join(x for x in keys if '_' in x)})\b")
    found = [
        message.id
        for message in make.read_catalog(OTHERS[0])
        if not all(
            file.startswith("surgeon_engine/cli") for file, _ in message.locations
        )
        and any(map(words.search, forms(message.id)))
    ]
    assert not found


def test_engine_names_settings_that_the_window_has():
    parts = {name.partition(".")[0] for name in labels.FIELDS}
    name = re.compile(rf'setting="((?:{"|".join(parts)})\.\w+)"')
    found = {each for file in ENGINE for each in name.findall(file.read_text())}
    assert found and found <= set(labels.FIELDS)
