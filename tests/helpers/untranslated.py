"""Find text in code that is not marked for translation."""

import ast
import re

NAMES = {"LLM Surgeon", "Qt, PySide", "surgeon run job.toml", "FROM "}

_MARKUP = re.compile(r"</?\w|=\"|>$|: [^;\n]+;")  # HTML and style sheets
_IDENTIFIER = re.compile(r"\w*[_.]\w+")
_WORD = re.compile(r"[^\W\d_]{2,}")

# Calls whose literals are translated or never shown in the window.
_HIDDEN = {
    *("tr", "ntr", "getLogger", "add_argument", "ArgumentParser", "setProperty"),
    *("TypeVar", "QFont", "compile", "caption", "FieldText"),
}
_LOGGING = {"debug", "info", "warning", "error", "exception", "critical"}
_TRANSPARENT = {"format", "join", "strip"}  # their arguments are shown like text

# Calls and arguments that show their text: single words count too.
_SHOWING = {
    *("setText", "setToolTip", "setTitle", "setWindowTitle", "setPlaceholderText"),
    *("setAccessibleName", "setAccessibleDescription", "setInformativeText"),
    *("addMenu", "addAction", "addItem", "showMessage"),
    *("QLabel", "QPushButton", "QToolButton", "QCheckBox", "QRadioButton", "QGroupBox"),
    *("QAction", "QMenu", "Collapsible", "heading", "text_label", "Failed"),
}
_SHOWN_ARGUMENTS = {"label", "text", "title", "toolTip", "placeholderText", "words"}


def untranslated(code: str) -> list[str]:
    """Return the literals with words that are not passed to `tr`."""
    found: list[str] = []
    _look(ast.parse(code), found, is_shown=False)
    return found


def called(node: ast.Call) -> str:
    """Return the name of the called function, without its object or module."""
    function = node.func
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _look(node: ast.AST, found: list[str], *, is_shown: bool) -> None:
    if _is_hidden(node):
        return
    if isinstance(node, ast.Subscript | ast.Attribute):
        is_shown = False  # a key, or the object of a call
    elif isinstance(node, ast.keyword) and node.arg in _SHOWN_ARGUMENTS:
        is_shown = True
    elif isinstance(node, ast.keyword) and node.arg == "name":
        is_shown = False  # the name of an object, for tests
    elif isinstance(node, ast.Call) and called(node) not in _TRANSPARENT:
        is_shown = called(node) in _SHOWING
    elif isinstance(node, ast.Constant) and _has_words(node.value, is_shown):
        found.append(f"line {node.lineno}: {node.value}")
    for child in ast.iter_child_nodes(node):
        _look(child, found, is_shown=is_shown)


def _is_hidden(node: ast.AST) -> bool:
    match node:
        case ast.Raise() | ast.Assert():
            return True  # internal errors
        case ast.Expr(value=ast.Constant()):
            return True  # a docstring
        case ast.FunctionDef(name="rows"):
            return True  # cells of a CSV file
        case ast.Call(func=ast.Attribute(value=ast.Name(id="_log"))):
            return called(node) in _LOGGING
        case ast.Call():
            return called(node) in _HIDDEN
    return False


def _has_words(value: object, is_shown: bool) -> bool:
    if not isinstance(value, str) or value in NAMES or _MARKUP.search(value):
        return False
    words = _WORD.findall(_IDENTIFIER.sub("", value))
    return (len(words) > 1 and " " in value) or (bool(words) and is_shown)
