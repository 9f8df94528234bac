"""Questions before something is lost."""

from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QMessageBox, QWidget

from surgeon_gui.views.question import Question
from tests.helpers.windows import find


def test_question_has_the_same_default_after_another_answer(qtbot):
    parent, answers = QWidget(), []
    qtbot.addWidget(parent)
    question = Question("cancel", "Cancel", parent)
    box = find(parent, "cancel_question", QMessageBox)
    yes, no = (find(box, f"cancel_{name}_button") for name in ("yes", "no"))
    for number in (1, 2):
        question.ask("Cancel it?", "It is lost.", lambda: answers.append(True))
        qtbot.waitActive(box)
        assert no.isDefault()
        assert box.focusWidget() is no
        QTest.mouseClick(yes, Qt.MouseButton.LeftButton)
        assert len(answers) == number
