"""The sidebar: its places, the progress of the run, and the computer."""

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QLabel, QProgressBar, QPushButton

from surgeon_gui.window.places import SIDEBAR_WIDTH, Place, Places
from tests.helpers.windows import click, find


@pytest.fixture
def places(qtbot, actions):
    """Return the places with a label in each."""
    places = Places(actions, {place: QLabel(place.value) for place in Place})
    qtbot.addWidget(places)
    places.show()
    places.open(Place.NEW)
    return places


def button_of(places, place):
    return find(places, f"place_{place.value}_button", QPushButton)


@pytest.mark.parametrize("place", Place)
def test_button_opens_its_place_and_is_marked(places, place):
    click(places, f"place_{place.value}_button")
    assert places.current is place
    assert [each for each in Place if button_of(places, each).isChecked()] == [place]
    shown = [each.text() for each in places.findChildren(QLabel) if each.isVisible()]
    assert place.value in shown
    assert len(set(shown) & {each.value for each in Place}) == 1
    places.open(Place.PLAYGROUND)  # not by a click
    assert button_of(places, Place.PLAYGROUND).isChecked()


def test_arrow_keys_and_space_choose_a_place(places, qtbot):
    places.activateWindow()
    qtbot.waitActive(places)
    button_of(places, Place.NEW).setFocus()
    QTest.keyClick(button_of(places, Place.NEW), Qt.Key.Key_Down)
    assert button_of(places, Place.RUNS).hasFocus()
    QTest.keyClick(button_of(places, Place.RUNS), Qt.Key.Key_Space)
    assert places.current is Place.RUNS


def test_progress_of_the_run_is_below_its_place(places):
    bar = find(places, "sidebar_progress_bar", QProgressBar)
    assert not bar.isVisible()
    places.show_progress(0.5)
    assert bar.isVisible()
    assert bar.value() == bar.maximum() // 2
    places.show_progress(None)
    assert not bar.isVisible()


def test_long_name_of_a_computer_fits_into_the_sidebar(places):
    made = find(places, "sidebar_computers_button", QPushButton)
    places.show_computer("box")
    assert made.text() == "box"
    places.show_computer("somebody@a-very-long-name.of.a.computer.example.org")
    assert "\N{HORIZONTAL ELLIPSIS}" in made.text()
    assert made.sizeHint().width() <= SIDEBAR_WIDTH


@pytest.mark.parametrize("name", ["computers", "preferences", "guide"])
def test_foot_has_the_actions_of_the_menu(places, actions, name):
    done = []
    actions[f"{name}_action"].triggered.connect(lambda: done.append(name))
    click(places, f"sidebar_{name}_button")
    assert done == [name]
