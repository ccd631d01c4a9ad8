"""What is tried with a step is undone, and does not change what it computes."""

import copy

import pytest
import torch
from ignite.engine import Engine
from torch import nn

from ignite_pipeline.compute import Compute
from ignite_pipeline.profiling.changes import Change, try_changes
from ignite_pipeline.profiling.on_the_way import try_uint8
from ignite_pipeline.profiling.step_changes import memory_formats, pinning, precisions, thread_counts
from ignite_pipeline.profiling.tuning import Setting
from ignite_pipeline.steps import supervised_step

BATCH = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 0, 1])


ROWS, LAST = torch.contiguous_format, torch.channels_last


def parts(*memory_formats):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(64, 2))
    for convolution, memory_format in zip((model[0], model[2]), memory_formats, strict=False):
        convolution.to(memory_format=memory_format)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, fused=True)
    compute = Compute()
    step = supervised_step(model, optimizer, nn.functional.cross_entropy, compute=compute)
    return model, compute, step


@pytest.mark.parametrize("before", [(ROWS, ROWS), (LAST, LAST), (ROWS, LAST)], ids=str)
def test_another_layout_trains_alike_and_is_put_back(before):
    results = []
    for changed in (False, True):
        model, _, step = parts(*before)
        engine = Engine(step)
        step(engine, BATCH)
        (change,) = memory_formats(step) if changed else [Change("none")]
        for _ in range(2):
            with change.within():
                step(engine, BATCH)
        step(engine, BATCH)
        results.append(copy.deepcopy(model.state_dict()))
        for convolution, memory_format in zip((model[0], model[2]), before, strict=True):
            assert convolution.weight.is_contiguous(memory_format=memory_format)
    torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-5)


def test_a_step_without_convolutions_has_one_layout():
    model = nn.Linear(2, 2)
    assert not memory_formats(lambda engine, batch, model=model: model(batch))


def test_another_precision_is_that_of_the_step_for_as_long_as_it_is_tried():
    _, compute, _ = parts()
    (change,) = precisions(compute)
    assert change.words == "--precision bf16"
    with change.within():
        assert compute.predict(nn.Linear(2, 2), torch.ones(1, 2)).dtype == torch.float32
        with compute.autocast():
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
    assert compute.precision == "fp32"


def test_threads_are_put_back():
    _, compute, _ = parts()
    torch.set_num_threads(3)
    for change in thread_counts(compute):
        with change.within():
            assert change.words == f"torch.set_num_threads({torch.get_num_threads()})"
        assert torch.get_num_threads() == 3


def test_memory_is_pinned_once():
    (change,) = pinning(Setting(8))
    assert change.setting(Setting(8)) == Setting(8, pin_memory=True)
    assert not pinning(Setting(8, pin_memory=True))


def test_a_change_that_fails_is_said_and_not_taken():
    def loop_with_s(changes):
        if changes:
            raise RuntimeError("no such kernel\nand more")
        return 1.0

    tried, taken = try_changes([[Change("fp16")]], loop_with_s)
    assert (tried[0].words, tried[0].failed, taken) == ("fp16", "no such kernel", None)


def test_the_lucky_best_of_many_is_not_taken_unless_it_wins_again():
    seconds = iter([1.0, 0.9] * 3 + [1.0, 1.1] * 5)
    tried, taken = try_changes([[Change("lucky")]], lambda changes: next(seconds))
    assert tried[0].helps
    assert taken is None


def test_what_is_kept_stands_while_the_next_is_tried():
    seen = []

    def loop_with_s(changes):
        seen.append([change.words for change in changes])
        return 1.0 / (1 + len(changes))

    _, taken = try_changes([[Change("a")], [], [Change("b")]], loop_with_s)
    assert ["a"] in seen[6:12]
    assert taken.words == "a and b"
    assert taken.speedup == pytest.approx(3)


def test_a_batch_sent_as_uint8_arrives():
    tried = try_uint8({"image": BATCH[0], "y": BATCH[1]}, Compute())
    assert len(tried.speedups) == 5
