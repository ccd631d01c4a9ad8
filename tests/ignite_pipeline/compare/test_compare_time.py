"""Slower and faster are told from noise, and the exit status says which."""

import math
import random
from pathlib import Path

import numpy as np
import pytest

from ignite_pipeline.compare.comparison import compare
from ignite_pipeline.compare.intervals import difference
from ignite_pipeline.compare.past_runs import PastRun, read_run
from tests.support.compared_runs import OPTIONS, STEADY, copy, status_of, times
from tests.support.runs import train


def test_a_slower_side_ends_with_status_3_and_the_part_that_is_slower(sides, capsys):
    a, b = sides(a=STEADY, b=times(1.1))
    assert status_of(a, b, "--max-slower", "5%") == 3
    out, error = capsys.readouterr()
    assert error.startswith("slower: a")
    assert error.count("\n") == 1
    assert "most of all in computing" in error
    assert "Slower: a" in out


def test_slower_by_less_than_the_limit_is_fine(sides, capsys):
    a, b = sides(a=STEADY, b=times(1.1))
    assert status_of(a, b, "--max-slower", "20%") == 0
    assert "Slower: a" in capsys.readouterr().out


def test_a_faster_side_exceeds_nothing(sides, capsys):
    a, b = sides(a=times(1.1), b=STEADY)
    assert status_of(a, b, "--max-slower", "0%", "--max-worse", "0") == 0
    assert "Faster: a" in capsys.readouterr().out


def test_noise_is_neither_slower_nor_faster(sides, capsys):
    a, b = sides(a=(1.0, 1.1, 0.95), b=(1.05, 0.98, 1.12))
    assert status_of(a, b, "--max-slower", "1%") == 0
    assert "Neither slower nor faster beyond noise" in capsys.readouterr().out


def test_what_medians_do_not_see_is_found_in_the_epochs(real, tmp_path, capsys):
    for number in range(3):
        copy(real / "low", tmp_path / "a" / str(number), begun_s=2 * number, factor=STEADY[number])
        factor = 1.2 * STEADY[number]
        place = tmp_path / "b" / str(number)
        copy(real / "low", place, begun_s=2 * number + 1, factor=factor, medians_too=False)
    assert status_of(tmp_path / "a", tmp_path / "b", "--max-slower", "5%") == 3
    assert "slower: an iteration, all told takes 1.200" in capsys.readouterr().err


def test_runs_that_did_not_take_turns_get_no_verdict(real, tmp_path, capsys):
    for number in range(6):
        copy(real / "low", tmp_path / ("a" if number < 3 else "b") / str(number), begun_s=number)
    assert status_of(tmp_path / "a", tmp_path / "b") == 0
    assert "made in the order A A A B B B" in capsys.readouterr().out
    assert status_of(tmp_path / "a", tmp_path / "b", "--max-slower", "5%") == 2
    error = capsys.readouterr().err
    assert "--max-slower: no verdict on time: the runs must take turns" in error
    assert error.count("\n") == 1


def test_batches_of_another_size_are_compared_by_the_sample(real, image_tree, tmp_path):
    train(image_tree, tmp_path / "run", *OPTIONS, "--lr", 0.01, "--batch-size", 4)
    found = compare([read_run(real / "low")], [read_run(tmp_path / "run")])
    assert found.time.unit == "sample"
    usual = found.time.figures[0]
    median_s = read_run(tmp_path / "run").timing["median_s"]
    assert usual.b == [{part: pytest.approx(value / 4) for part, value in median_s.items()}]


def test_the_interval_holds_as_often_as_it_says():
    draws = np.random.default_rng(0).normal(size=(4000, 6)).tolist()
    found = [difference(row[:3], row[3:]) for row in draws]
    assert sum(one.low < 0 < one.high for one in found) / len(found) == pytest.approx(0.99, abs=0.005)


def simulated(generator: random.Random, slower: float, begun_s: int) -> PastRun:
    """Return a run that varies as real ones did on a busy machine: benchmarks/comparing_runs.py."""
    level = 0.003 * slower * math.exp(generator.gauss(0, 0.015))
    disturbed = 1.5 if generator.random() < 0.05 else 1.0
    epochs = [
        {"iteration": 40 * number, "time/compute_s": 40 * level * disturbed * (1 + generator.expovariate(20))}
        for number in range(1, 11)
    ]
    config = {"task": "simulated", "options": {}, "dataset": {}}
    config["sessions"] = [{"started": f"2026-11-27T01:{begun_s // 60:02}:{begun_s % 60:02}+0000"}]
    timing = {"wall_s": 1.0, "median_s": {"compute": level}}
    summary = {"status": "completed", "iterations": 400, "final": {}, "timing": timing}
    return PastRun(Path(str(begun_s)), config, summary, epochs)


def test_planted_regressions_are_found_and_none_is_made_up():
    generator = random.Random(0)

    def found(slower: float) -> int:
        runs = [simulated(generator, (1.0, slower)[number % 2], number) for number in range(6)]
        return compare(runs[::2], runs[1::2]).time.verdict

    verdicts = {slower: [found(slower) for _ in range(20)] for slower in (1.0, 1.1, 1.5)}
    assert verdicts[1.5].count("slower") == 20
    assert verdicts[1.1].count("slower") >= 18
    assert verdicts[1.0].count("no difference") >= 19
