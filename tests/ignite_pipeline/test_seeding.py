import subprocess
import sys
from itertools import pairwise

import torch
from ignite.engine import Engine
from torch import nn

from ignite_pipeline.seeding import ReseedEachIteration, position_seed


def test_seeds_of_neighbouring_positions_share_no_bits_beyond_chance():
    seeds = [position_seed(0, 0, epoch, index) for epoch in range(30) for index in range(30)]
    flipped = [(a ^ b).bit_count() for a, b in pairwise(seeds)]
    assert 30 < sum(flipped) / len(flipped) < 33
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_position_and_seed_are_not_interchangeable():
    assert (
        len({position_seed(*words) for words in [(0, 1, 2), (1, 0, 2), (0, 2, 1), (1, 2, 0), (0, 1), (0,)]})
        == 6
    )


def test_dropout_in_a_resumed_run_draws_what_it_would_have_drawn():
    dropout = nn.Dropout()

    def outputs(start):
        seen = []
        trainer = Engine(lambda engine, batch: seen.append(dropout(torch.ones(20)).tolist()))
        ReseedEachIteration(4).attach(trainer)
        trainer.load_state_dict({"iteration": start, "epoch_length": 5, "max_epochs": 2})
        trainer.run(range(100), max_epochs=2)
        return seen

    whole = outputs(0)
    torch.rand(77)
    assert outputs(3) == whole[3:]
    assert len({tuple(output) for output in whole}) == 10


def test_kernels_are_made_deterministic_without_loading_a_compiler():
    code = (
        "import sys, torch; from ignite_pipeline.seeding import make_deterministic;"
        "before = set(sys.modules); make_deterministic();"
        "assert torch.are_deterministic_algorithms_enabled();"
        "assert torch.is_deterministic_algorithms_warn_only_enabled();"
        "assert not [name for name in set(sys.modules) - before if '_dynamo' in name or '_inductor' in name]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
