"""Facts fit into a narrow panel."""

from surgeon_gui.widgets.facts import Facts

LONG = "/home/someone/.local/share/surgeon/runs/2026-11-24_18-09-07_A-Name.Q4_1/export"


def test_long_path_does_not_widen_panel(qtbot):
    facts = Facts("facts")
    qtbot.addWidget(facts)
    facts.show_facts((("Folder", LONG),))
    facts.show()
    assert facts.minimumSizeHint().width() < 150
    facts.resize(300, 10)
    short = Facts("short")
    qtbot.addWidget(short)
    short.show_facts((("Folder", "here"),))
    assert facts.heightForWidth(300) > 2 * short.heightForWidth(300)  # it wraps
