"""The tabs Live and Resources: charts of a run in progress."""
