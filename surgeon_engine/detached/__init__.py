"""Detached runs: processes of their own, which need nobody who is connected.

    start.py     starts the process of a run
    process.py   the process: does the run, and obeys the commands in its folder
    watch.py     follows the log of a run, and ends a run that ignores a cancel

The folder of the run is all that they share. Any run can be watched, also one of a
window or of the command line. Only `process.py` imports torch.
"""
