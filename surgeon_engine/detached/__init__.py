"""Engines that go on when their client goes away, for a window on another computer.

    ssh computer surgeon serve --detached
      relay.py     its standard streams  <->  the socket of the keeper
      keeper.py    runs detached: one engine, its lines in a file, one client at a time
      lines.py     that file, which shortening.py keeps from growing without end
  place.py     the private folder of the socket, the lines and the log

The relay starts the keeper if none runs. No port is open: the socket is a file in a
folder that no other user can enter. Nothing here imports torch.
"""
