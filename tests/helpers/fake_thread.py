"""An engine thread without an engine, for a session without a window."""


class FakeThread:
    """An engine thread without an engine: records commands, delivers events."""

    def __init__(self):
        self.commands = []

    def listen(self, slot):
        self.deliver = slot

    def send(self, command):
        self.commands.append(command)
