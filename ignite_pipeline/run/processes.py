"""Who this process is among those of a job."""

import os

from ignite_pipeline.errors import BadInput


def require_single_process() -> None:
    """Raise `BadInput` in a job of several processes, such as ``torchrun`` starts."""
    processes = os.environ.get("WORLD_SIZE", "1")
    if processes != "1":
        raise BadInput(f"one process trains a run, and WORLD_SIZE is {processes}: start it without torchrun")
