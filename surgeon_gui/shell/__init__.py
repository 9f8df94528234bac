"""The frame of the window: menus, docks, the middle, closing."""
