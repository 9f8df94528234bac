"""Several processes of one machine that share a run, each with a GPU of its own.

    surgeon run, or the window's engine     group.py: starts the rest, passes events on
      torch.distributed.run                 agent.py: starts a process for each GPU
        the processes                       worker.py: prune, in step

`surgeon_engine.runtime.ranks` is how the processes compute together.
"""
