"""The main window: menus, docks, tabs, closing."""
