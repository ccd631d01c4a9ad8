"""Which attacks there are, and how one is drawn."""

import random
from collections.abc import Callable

from tests.attacks.data import bad_data, changed_data
from tests.attacks.disks import full_disk, read_only_disk
from tests.attacks.files import (
    damaged_checkpoints,
    damaged_file,
    damaged_meanwhile,
    edited_config,
    foreign_checkpoint,
    leftovers,
    misnamed_checkpoint,
    moved,
)
from tests.attacks.life import Life
from tests.attacks.processes import (
    at_once,
    begun_at_once,
    few_descriptors,
    limits,
    little_memory,
    output_streams,
    signals,
    small_shared_memory,
    surroundings,
)
from tests.attacks.scripts import board, profiled, translated

Kind = Callable[[Life], None]


def finished(life: Life) -> None:
    """At the end of every life: the run as if nothing had happened."""
    life.finish()


# These leave a run that can be disturbed once more.
ON_A_RUN: list[Kind] = [
    signals,
    output_streams,
    few_descriptors,
    little_memory,
    small_shared_memory,
    surroundings,
    limits,
    moved,
    leftovers,
    damaged_file,
    damaged_checkpoints,
    foreign_checkpoint,
    misnamed_checkpoint,
    damaged_meanwhile,
    changed_data,
    edited_config,
    at_once,
]
ON_A_DISK: list[Kind] = [full_disk, read_only_disk]
OTHERS: list[Kind] = [*ON_A_DISK, begun_at_once, bad_data, translated, profiled, board]
SLOW: list[Kind] = [translated, profiled, board]


def plan(rng: random.Random) -> tuple[list[Kind], str]:
    """Draw what is to happen to which run: signals more often than anything else."""
    kind = rng.choice([*ON_A_RUN, *OTHERS, signals, signals, damaged_file, edited_config])
    subject = rng.choice(["cifar2"] * 6 + ["own"] * 5 + ["pix2pix"])
    if kind is translated:
        subject = "pix2pix"
    if kind in (*ON_A_DISK, profiled, board):
        subject = "cifar2"
    more = rng.sample(ON_A_RUN, rng.choice([0, 0, 0, 1, 2])) if kind in ON_A_RUN else []
    alone = kind in (*SLOW, *ON_A_DISK, begun_at_once)
    return [kind, *more, *([] if alone else [finished])], subject


def cheap_seeds() -> list[int]:
    """Return a seed of each kind that takes two or three seconds."""
    found: dict[Kind, int] = {}
    for seed in range(3000):
        kinds, subject = plan(random.Random(seed))
        wanted = "cifar2" if kinds[0] in (*ON_A_DISK, signals, edited_config) else "own"
        if subject == wanted and len(kinds) <= 2 and kinds[0] not in SLOW:
            found.setdefault(kinds[0], seed)
    return list(found.values())
