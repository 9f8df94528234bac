"""The main window: menus, places, closing."""
