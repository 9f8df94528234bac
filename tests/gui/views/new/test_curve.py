"""The curve of sizes: its handle by mouse and keys, its limits, and its picture."""

import math
from dataclasses import replace

import numpy as np
import pytest
from PySide6.QtCore import QPoint, QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QImage, QPainter
from PySide6.QtTest import QTest

from surgeon_engine.api.config.pruning import PruningConfig
from surgeon_engine.planning.forecast import Basis, RunPoint, forecast
from surgeon_gui.base.colors import LIGHT
from surgeon_gui.base.settings import ThemeChoice
from surgeon_gui.base.theme import apply_theme
from surgeon_gui.views.new.curve import Band, Curve, SizeCurve, _Picture
from surgeon_gui.views.new.page import _bands
from tests.helpers.fake_engine import model_summary

FOUND = forecast(PruningConfig(width_multiple=1), model_summary())
BANDS = (Band("good", 0.0, 0.25, ""), Band("bad", 0.25, math.inf, "bad"))


def scaled(values, factor):
    return [factor * value for value in values]


def curve_of(found=FOUND, bands=BANDS, places=None):
    end = f"{found.last:.1%} less"
    if places is None:
        places = [point.share for point in found.points]
    return Curve(found, bands, lambda share: f"{share:.1%} less", end, places)


@pytest.fixture
def curve(qtbot):
    """Return a curve at 30 %, and the list of the shares to which it was moved."""
    curve = SizeCurve()
    qtbot.addWidget(curve)
    curve.resize(800, 300)
    curve.show_curve(curve_of(), 0.3, "")
    curve.show()
    moved = []

    def follow(share):  # as the page does
        moved.append(share)
        curve.show_curve(curve_of(), share, "")

    curve.moved.connect(follow)
    return curve, moved


def test_handle_follows_the_mouse_and_stays_on_the_curve(curve):
    widget, moved = curve
    left = Qt.MouseButton.LeftButton
    QTest.mousePress(widget, left, pos=QPoint(400, 100))
    assert moved[-1] == pytest.approx(FOUND.last / 2, abs=0.01)
    QTest.mouseMove(widget, QPoint(790, 100))
    for x, share in ((-50, FOUND.first), (5000, FOUND.last)):
        QTest.mouseMove(widget, QPoint(x, 100))
        QTest.mousePress(widget, left, pos=QPoint(x, 100))
        assert moved[-1] == widget.share == pytest.approx(share, abs=0.001)
    assert moved[-1] <= FOUND.last
    QTest.mousePress(widget, Qt.MouseButton.RightButton, pos=QPoint(100, 100))
    assert widget.share > 0.9  # only the left button


@pytest.mark.parametrize(
    ("key", "share"),
    [
        (Qt.Key.Key_Right, 0.31),
        (Qt.Key.Key_Left, 0.29),
        (Qt.Key.Key_Up, 0.31),
        (Qt.Key.Key_Down, 0.29),
        (Qt.Key.Key_PageUp, 0.35),
        (Qt.Key.Key_PageDown, 0.25),
        (Qt.Key.Key_Home, FOUND.possible(0.0)),
        (Qt.Key.Key_End, FOUND.smallest),
    ],
)
def test_keys_move_the_handle(curve, key, share):
    widget, moved = curve
    QTest.keyClick(widget, key)
    assert moved == [pytest.approx(share)]


def test_keys_stop_at_the_limits(curve):
    widget, moved = curve
    for key, limit in ((Qt.Key.Key_PageUp, FOUND.last), (Qt.Key.Key_PageDown, 0.0)):
        for _ in range(30):
            QTest.keyClick(widget, key)
        assert moved[-1] == pytest.approx(limit, abs=0.001)
        count = len(moved)
        QTest.keyClick(widget, key)
        assert len(moved) == count  # nothing has moved
    QTest.keyClick(widget, Qt.Key.Key_A)
    assert len(moved) == count


def test_curve_without_a_model_shows_why_and_cannot_be_moved(curve):
    widget, moved = curve
    widget.show_curve(None, None, "")
    empty = widget.grab().toImage()
    widget.show_curve(None, None, "The model is being read.")
    assert widget.grab().toImage() != empty
    QTest.mousePress(widget, Qt.MouseButton.LeftButton, pos=QPoint(400, 100))
    QTest.keyClick(widget, Qt.Key.Key_Right)
    assert moved == []
    assert widget.cursor().shape() is Qt.CursorShape.ArrowCursor


def test_size_at_the_handle_is_read_aloud(curve):
    widget, _ = curve
    assert widget.accessibleDescription() == "30.0% less"
    QTest.keyClick(widget, Qt.Key.Key_Right)
    assert widget.accessibleDescription() == "31.0% less"


def test_each_part_is_painted(qtbot, curve):
    """Each difference in the values changes the picture."""
    widget, _ = curve

    def picture(found=FOUND, bands=BANDS, share=0.3):
        widget.show_curve(curve_of(found, bands), share, "")
        return widget.grab().toImage()

    pictures = [
        picture(),
        picture(share=0.5),
        picture(share=None),
        picture(bands=BANDS[:1]),
        picture(bands=(BANDS[0], replace(BANDS[1], color="warning"))),
        picture(replace(FOUND, spreads=scaled(FOUND.spreads, 0.5))),
        picture(replace(FOUND, expected=scaled(FOUND.expected, 0.5))),
        picture(replace(FOUND, points=(RunPoint("Nov 3", 0.3, 0.1),))),
    ]
    same = [(a, b) for a in range(8) for b in range(a) if pictures[a] == pictures[b]]
    assert same == []
    beyond = picture(replace(FOUND, points=(RunPoint("Nov 3", 0.99, 0.1),)))
    assert beyond == pictures[0]  # a run that the limits no longer allow
    other = RunPoint("Nov 3", 0.3, 0.1, has_format=False)
    assert picture(replace(FOUND, points=(other,))) == pictures[0]  # another format
    unknown = replace(FOUND, basis=Basis.NOTHING)
    assert picture(unknown) == picture(unknown, bands=BANDS[:1])  # no verdicts
    assert picture(unknown) != picture(unknown, share=0.5)
    assert picture(unknown) == picture(replace(unknown, expected=(), spreads=()))


def test_points_are_at_their_places_within_the_axis(qapp):
    runs = [RunPoint(f"run {n}", 0.3, 0.2) for n in range(3)]
    found, area = replace(FOUND, points=tuple(runs)), QRectF(10, 10, 780, 260)
    image = QImage(800, 300, QImage.Format.Format_RGB32)
    painter = QPainter(image)
    shown = curve_of(found, places=[-0.1, 0.2, FOUND.last + 0.01])
    picture = _Picture(painter, LIGHT, area, shown)
    picture.paint(None)
    painter.end()
    (mark,) = picture._marks
    assert mark.center() == QPointF(picture._x(0.2), picture._y(0.2))


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.3])
def test_name_of_a_run_is_beside_the_curve(qapp, factor):
    image = QImage(800, 300, QImage.Format.Format_RGB32)
    run = RunPoint("2026-11-30 13:12", 0.5, factor * FOUND.at(0.5))
    shown = curve_of(replace(FOUND, points=(run,)))
    painter = QPainter(image)
    picture = _Picture(painter, LIGHT, QRectF(10, 10, 780, 260), shown)
    picture.paint(0.5)
    painter.end()
    *_, name = picture._texts
    assert len(picture._texts) == len(BANDS) + 1
    shares = np.linspace(0.0, FOUND.last, 1000)
    on_curve = [QPointF(picture._x(x), picture._y(FOUND.at(x))) for x in shares]
    assert not any(name.contains(point) for point in on_curve)


@pytest.mark.parametrize("factor", [0.1, 0.3, 1.0, 5.0, 40.0])
@pytest.mark.parametrize("share", [0.0, 0.3, FOUND.last])
@pytest.mark.parametrize("size", [(835, 300), (1155, 480)])
def test_labels_are_beside_the_curve_and_the_handle(qapp, size, share, factor):
    found = replace(FOUND, expected=scaled(FOUND.expected, factor))
    image = QImage(*size, QImage.Format.Format_RGB32)
    area = QRectF(image.rect()).adjusted(10, 10, -10, -24)
    painter = QPainter(image)
    picture = _Picture(painter, LIGHT, area, curve_of(found, _bands(0.0)))
    picture.paint(share)
    painter.end()
    shares = np.linspace(0.0, found.last, 1000)
    on_curve = [QPointF(picture._x(x), picture._y(found.at(x))) for x in shares]
    (handle,) = picture._marks
    assert len(picture._texts) >= 3
    for number, text in enumerate(picture._texts):
        assert not any(text.contains(point) for point in on_curve)
        assert not text.intersects(handle)
        assert area.contains(text)
        letters = text.adjusted(0, 1, 0, -1)  # without the space between lines
        assert not any(map(letters.intersects, picture._texts[:number]))


def test_labels_keep_their_sides_in_all_sizes_and_on_other_curves(qapp):
    kept = set()
    for width, height in ((720, 280), (835, 300), (1155, 480)):
        image, area = QImage(width, height, QImage.Format.Format_RGB32), QRectF()
        area.setCoords(10, 10, width - 10, height - 24)
        for factor in (0.7, 1.0, 2.0):
            found = replace(FOUND, expected=scaled(FOUND.expected, factor))
            painter = QPainter(image)
            picture = _Picture(painter, LIGHT, area, curve_of(found, _bands(0.0)))
            picture.paint(0.3)
            painter.end()
            is_left = [x.center().x() < width / 2 for x in picture._texts]
            kept.add(tuple(is_left))
    assert kept == {(False, True, True, True)}


def test_handle_at_the_end_of_the_axis_covers_no_size(curve):
    widget, _ = curve
    broken = replace(FOUND, expected=scaled(FOUND.expected, 1e3))
    widget.show_curve(curve_of(broken), broken.last, "")
    widget.clearFocus()  # which has the color of the handle
    picture, ratio = widget.grab().toImage(), widget.devicePixelRatio()
    sizes = range(int(ratio * widget._area().bottom()) + 1, picture.height())
    rows = [{picture.pixel(x, y) for x in range(picture.width())} for y in sizes]
    accent, text = (QColor(x).rgb() for x in (LIGHT.accent, LIGHT.text))
    lowest = max(y for y, row in enumerate(rows) if accent in row)
    highest = min(y for y, row in enumerate(rows) if text in row)
    assert lowest < highest


@pytest.mark.parametrize("share", [0.0, 0.31, 0.33, 0.35, 1.0])
def test_names_of_runs_are_whole_and_beside_points_and_handle(qapp, share):
    runs = [RunPoint(f"run {n}", 0.25 + 0.02 * n, 0.2 + 0.02 * n) for n in range(8)]
    runs += [RunPoint("a long name", x, 0.3) for x in (0.0, FOUND.last)]
    found = replace(FOUND, points=tuple(runs))
    image = QImage(800, 300, QImage.Format.Format_RGB32)
    painter = QPainter(image)
    area = QRectF(10, 10, 780, 260)
    picture = _Picture(painter, LIGHT, area, curve_of(found))
    picture.paint(share)
    painter.end()
    names = picture._texts[len(BANDS) :]
    assert names
    assert all(area.contains(name) for name in names)
    marks = [(x.share, x.divergence, 4) for x in runs]
    shown = min(share, FOUND.last)
    marks.append((shown, FOUND.at(shown), 9))
    for x, divergence, radius in marks:
        center = QPointF(picture._x(x), picture._y(divergence))
        place = QRectF(0, 0, 2 * radius, 2 * radius)
        place.moveCenter(center)
        assert not any(name.intersects(place) for name in names)


def test_curve_that_rises_at_its_end_is_not_cut_off():
    """As by a run that is worse than another one with fewer weights."""
    expected = [0.1, *[2.0] * (len(FOUND.shares) - 2), 0.5]
    found = replace(FOUND, expected=expected, spreads=[1.2] * len(expected))
    area = QRectF(10, 10, 780, 260)
    picture = _Picture(QPainter(), LIGHT, area, curve_of(found))
    assert picture._y(2.0 * 1.2) == pytest.approx(area.bottom())
    assert picture._y(2.0) < area.bottom()


def test_quality_that_falls_to_nothing_stays_in_the_picture(qapp, curve):
    widget, _ = curve
    apply_theme(qapp, ThemeChoice.DARK)
    for scale in (1e-6, 1.0, 1e6):
        found = replace(FOUND, expected=scaled(FOUND.expected, scale))
        assert np.all(np.isfinite(found.expected))
        widget.show_curve(curve_of(found), found.last, "")
        assert not widget.grab().isNull()
