"""The program is broken at the place that was chosen, and only within functions."""

from tests.tools.break_program import ROOT, broken, places
from tests.tools.break_program import tests_beside as folder_beside
from tests.tools.break_program import tests_beyond as others

SOURCE = '''LIMIT = 3


def is_over(x: int = 2) -> bool:
    """Return whether 1 < x."""
    return x not in (7,) and not x < LIMIT
'''


def test_each_operator_and_number_of_a_function_is_a_place():
    found = {place.before: place for place in places(SOURCE, "module.py")}
    assert list(found) == ["7", "and", "not", "<"]
    expected = SOURCE.replace("x < LIMIT", "x <= LIMIT")
    assert broken(SOURCE, found["<"]) == expected


def test_tests_beside_a_module_are_those_of_the_nearest_folder():
    path = "surgeon_engine/pruning/methods/base.py"
    assert (ROOT / folder_beside(path)).is_dir()
    assert folder_beside(path).startswith("tests/engine/pruning")
    assert folder_beside("surgeon_engine/server.py") == "tests/engine"


def test_window_is_tested_without_the_engine_and_most_of_the_engine_without_a_window():
    assert "tests/engine/test_hostile_run_folder.py" in others("surgeon_gui/app.py")
    assert "--ignore=tests/gui" in others("surgeon_engine/pruning/costs.py")
    assert others("surgeon_engine/api/remote.py") == []
