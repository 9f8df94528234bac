"""A link that elides its middle."""

from surgeon_gui.widgets.elided_link import ElidedLink


def test_link_with_the_room_that_it_asks_for_is_whole(qtbot):
    link = ElidedLink("plan_folder_button", lambda: None)
    qtbot.addWidget(link)
    link.show()
    for length in range(10, 60):
        line = f"Speicherort: {'/home/me/models/runs-de' * 3}"[:length]
        link.show_line(line, "")
        link.resize(link.sizeHint())
        assert link.text() == line
        link.resize(link.sizeHint().width() - 40, link.height())
        assert "\N{HORIZONTAL ELLIPSIS}" in link.text()
