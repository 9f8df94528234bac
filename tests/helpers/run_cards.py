"""Functions that read the cards of runs and act on them."""

from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QAction
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QListView

from tests.helpers.windows import find


def grid_of(window):
    """Return the grid of cards."""
    return find(window, "runs_grid", QListView)


def titles(window):
    """Return the titles of the cards in their order."""
    model = grid_of(window).model()
    return [model.index(row, 0).data() for row in range(model.rowCount())]


def card_of(window, part):
    """Return the index of the card whose title contains `part`."""
    row = next(n for n, title in enumerate(titles(window)) if part in title)
    return grid_of(window).model().index(row, 0)


def choose(window, part):
    """Select the run whose title contains `part`; return the grid."""
    grid_of(window).setCurrentIndex(card_of(window, part))
    return grid_of(window)


def action_of(window, name):
    """Return an action of the menu of a card."""
    return find(window, f"runs_{name}_action", QAction)


def do(window, name):
    """Trigger an action for the selected run."""
    action = action_of(window, name)
    assert action.isEnabled() and action.isVisible(), name
    action.trigger()


def click_card(window, index, place, *, double=False):
    """Click at a place of a card, relative to the corner of its cell."""
    view = grid_of(window)
    position = view.visualRect(index).topLeft() + QPoint(place)
    click = QTest.mouseDClick if double else QTest.mouseClick
    click(view.viewport(), Qt.MouseButton.LeftButton, pos=position)
