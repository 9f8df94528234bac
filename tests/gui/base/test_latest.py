"""The latest result is kept for equal arguments, and no other."""

from surgeon_gui.base.latest import latest


def test_function_is_called_again_for_other_arguments_alone():
    calls = []

    @latest
    def added(*numbers):
        calls.append(numbers)
        return sum(numbers)

    asked = [(), (1, 2), (1, 2), (2, 2), (1, 2)]
    assert [added(*each) for each in asked] == [0, 3, 3, 4, 3]
    assert calls == [(), (1, 2), (2, 2), (1, 2)]
