"""Profile one of our tasks, or whatever ``python -m ignite_pipeline.profiling`` profiles.

python scripts/profile_data.py --task cifar2 --data-root cifar2    # options of run_cifar2.py go to the recipe
python scripts/profile_data.py --run runs/cifar2/...              # what takes that run's time, and what helps
"""

from collections.abc import Sequence

import run_cifar2
import run_finetune
import run_pix2pix
from ignite_pipeline.profiling.__main__ import main as profile
from ignite_pipeline.profiling.recipe import Recipe

TASKS = {
    "cifar2": Recipe(run_cifar2.train, run_cifar2.parser),
    "finetune": Recipe(run_finetune.train, run_finetune.parser),
    "pix2pix": Recipe(run_pix2pix.train, run_pix2pix.parser),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Profile as the command line asks for."""
    profile(argv, TASKS)


if __name__ == "__main__":
    main()
