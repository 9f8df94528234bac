"""The queue above the list of runs, the bar that offers it, the dialog of a sweep."""
