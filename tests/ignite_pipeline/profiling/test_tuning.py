"""The search on real loaders, real processes and known delays."""

import time

import pytest
import torch
from torch.utils.data import Dataset

from ignite_pipeline.profiling import tuning
from ignite_pipeline.profiling.tuning import (
    Measurement,
    Setting,
    compute_s,
    items_per_s,
    loader_s,
    loop_s,
    search,
)


class Slow(Dataset):
    """Samples that take some milliseconds each, in which a processor has nothing to do."""

    def __init__(self, ms):
        self.ms = ms

    def __len__(self):
        return 256

    def __getitem__(self, index):
        time.sleep(self.ms / 1000)
        return torch.zeros(2)


def test_parts_take_at_least_what_is_known_of_them():
    dataset, step = Slow(2), lambda engine, batch: time.sleep(0.01)
    assert items_per_s(dataset, seconds=0.2) <= 500
    assert loader_s(dataset, Setting(4), seconds=0.2) >= 0.008
    assert compute_s(step, torch.zeros(1), seconds=0.1) >= 0.01
    assert loop_s(dataset, step, Setting(4), seconds=0.2) >= 0.018


@pytest.mark.slow
def test_every_setting_is_measured_with_its_own_workers():
    dataset, step = Slow(5), lambda engine, batch: time.sleep(0.005)
    settings = [Setting(8), Setting(8, num_workers=1), Setting(8, num_workers=4)]
    found = {one.setting: one for one in search(dataset, step, settings, seconds=0.3)}
    assert found.keys() >= set(settings)
    for workers, at_least_s in ((0, 0.045), (1, 0.040), (4, 0.010)):  # known from what they sleep
        assert found[Setting(8, num_workers=workers)].loop_s >= at_least_s


def test_no_worker_is_recommended_where_there_is_nothing_to_gain(monkeypatch):
    monkeypatch.setattr(tuning, "loop_s", lambda *args, **options: 0.01)
    monkeypatch.setattr(tuning, "loader_s", lambda *args, **options: 0.001)
    found = search(range(8), lambda engine, batch: None, [Setting(2, num_workers=2), Setting(2)])
    assert found[0] == Measurement(Setting(2), 0.001, 0.01)


def test_time_goes_to_the_better_half(monkeypatch):
    spent = {}

    def measure(dataset, step, setting, *, seconds):
        spent.setdefault((setting.num_workers, setting.prefetch_factor), []).append(seconds)
        return 1.0 / (1 + setting.num_workers)

    monkeypatch.setattr(tuning, "loop_s", measure)
    monkeypatch.setattr(tuning, "loader_s", lambda *args, **options: 0.0)
    settings = [Setting(2, num_workers=count) for count in range(8)]
    search(range(8), lambda engine, batch: None, settings, seconds=1.0)
    in_three_rounds = [4, 4, 4]
    assert spent == {
        **{(count, 2): [1] for count in range(4)},
        (4, 2): [1, 2],
        **{(count, 2): [1, 2, *in_three_rounds] for count in (5, 6, 7)},
        (7, 4): in_three_rounds,
    }


def test_a_setting_that_was_left_out_does_not_win_when_the_machine_slows_down(monkeypatch):
    calls = []

    def measure(dataset, step, setting, *, seconds):
        calls.append(setting)
        return (1.0 if len(calls) <= 8 else 3.0) + setting.num_workers / 10

    monkeypatch.setattr(tuning, "loop_s", measure)
    monkeypatch.setattr(tuning, "loader_s", lambda *args, **options: 0.0)
    settings = [Setting(2, num_workers=count) for count in range(8)]
    found = search(range(8), lambda engine, batch: None, settings)
    assert [one.setting.num_workers for one in found[:3]] == [0, 1, 2]


def test_a_lucky_measurement_does_not_win(monkeypatch):
    luck = iter([0.5])

    def measure(dataset, step, setting, *, seconds):
        return next(luck, 2.0) if setting.num_workers == 2 else 1.0

    monkeypatch.setattr(tuning, "loop_s", measure)
    monkeypatch.setattr(tuning, "loader_s", lambda *args, **options: 0.0)
    found = search(range(8), lambda engine, batch: None, [Setting(2), Setting(2, num_workers=2)])
    assert found[0] == Measurement(Setting(2), 0.0, 1.0)


def test_the_threads_of_a_setting_hold_for_its_loop_alone():
    before, seen = torch.get_num_threads(), []
    loop_s(
        [torch.zeros(1)] * 8,
        lambda engine, batch: seen.append(torch.get_num_threads()),
        Setting(2, threads=1),
        seconds=0.01,
    )
    assert set(seen) == {1}
    assert torch.get_num_threads() == before


def test_a_setting_says_how_it_is_written():
    assert str(Setting(8)) == "num_workers=0"
    setting = Setting(8, num_workers=2, prefetch_factor=4, pin_memory=True, threads=1)
    assert str(setting) == "num_workers=2, prefetch_factor=4, pin_memory=True, torch.set_num_threads(1)"


def test_flops_are_counted():
    a = torch.randn(64, 64)
    achieved, _ = tuning.flops_per_s(lambda engine, batch: batch[0] @ batch[0], [a], 0.5)
    assert achieved == pytest.approx(2 * 64**3 / 0.5)
