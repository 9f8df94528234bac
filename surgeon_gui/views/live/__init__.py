"""The Live tab: charts of a run in progress."""
