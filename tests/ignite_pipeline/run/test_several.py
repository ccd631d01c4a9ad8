"""Several processes: the same bits for any number of them, and one decision for all."""

import json
from functools import partial

import pytest
import torch

from handlers import load_newest
from ignite_pipeline.errors import BadInput
from ignite_pipeline.run import Parser, launch
from ignite_pipeline.run.processes import Processes
from tests.support import several
from tests.support.runs import outcome, summary
from tests.support.several import BATCH, LENGTH, at, classify, generate, run_several, update_by_hand

CLASSIFY = [
    [],
    ["--micro-batches", 2],
    ["--precision", "bf16", "--skip-non-finite", 1],
    ["--num-workers", 1, "--seed-everything"],
]


def trained(train, directory, *options, processes):
    ended = run_several(train, directory, *options, processes=processes)
    assert ended.statuses == [0] * processes, ended.logs
    return outcome(directory)


@pytest.mark.parametrize(
    ("train", "options"), [(generate, []), *((classify, options) for options in CLASSIFY)]
)
def test_any_number_of_processes_trains_the_same_bits(train, options, tmp_path):
    outcomes = [
        trained(train, tmp_path / f"{count}", "--replicas", 4, *options, processes=count)
        for count in (1, 2, 4)
    ]
    assert outcomes[0] == outcomes[1] == outcomes[2]
    if train is classify:
        epochs = [line for line in outcomes[0][1] if line["kind"] == "epoch"]
        assert [line["val/seen"] for line in epochs] == [21.0] * several.EPOCHS


@pytest.mark.slow
def test_a_run_may_change_its_size_whenever_it_is_killed(tmp_path):
    whole = trained(classify, tmp_path / "whole", "--replicas", 4, processes=1)
    directory = tmp_path / "run"
    for processes, iteration in ((4, 5), (1, 9), (2, 14)):
        train = partial(classify, fault=at(iteration, several.kill, rank=processes - 1))
        ended = run_several(train, directory, "--replicas", 4, processes=processes)
        assert ended.statuses[-1] == -9, ended.logs
        assert summary_of_last(directory)["iterations"] <= iteration
    assert trained(classify, directory, processes=4) == whole
    sessions = json.loads((directory / "config.json").read_text())["sessions"]
    assert [session["processes"] for session in sessions] == [4, 1, 2, 4]


def summary_of_last(directory):
    return {"iterations": load_newest(directory / "checkpoints")["engine"]["iteration"]}


@pytest.mark.slow
def test_the_replicas_of_a_run_are_the_processes_that_it_began_with(tmp_path):
    run_several(partial(classify, fault=at(4, several.kill)), tmp_path / "run", processes=2)
    trained(classify, tmp_path / "run", processes=1)
    two = trained(classify, tmp_path / "two", "--replicas", 2, processes=1)
    assert outcome(tmp_path / "run") == two
    assert two != trained(classify, tmp_path / "one", processes=1)
    ended = run_several(classify, tmp_path / "two", "--replicas", 4, processes=1)
    assert ended.statuses == [2]
    assert "--replicas 4 contradicts the run" in ended.logs[0]


def test_surplus_processes_wait_and_say_so(tmp_path):
    ended = run_several(classify, tmp_path / "run", processes=3)
    assert ended.statuses == [0, 0, 0], ended.logs
    assert "2 of 3 processes compute what is cut into 2; 1 waits" in ended.logs[0]
    assert ended.logs[2] == ""
    assert summary(tmp_path / "run")["iterations"] == LENGTH * several.EPOCHS


def test_only_the_main_process_speaks(tmp_path):
    ended = run_several(classify, tmp_path / "run", processes=2)
    assert ended.logs[1] == ""
    assert "epoch 3/3" in ended.logs[0]


@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_to_one_process_ends_all_after_the_same_step(rank, tmp_path):
    whole = trained(classify, tmp_path / "whole", "--replicas", 2, processes=1)
    train = partial(classify, fault=at(8, several.term, rank=rank))
    ended = run_several(train, tmp_path / "run", processes=2)
    assert ended.statuses == [143, 143], ended.logs
    assert load_newest(tmp_path / "run" / "checkpoints")["engine"]["iteration"] == 9
    assert trained(classify, tmp_path / "run", processes=1) == whole


def test_whatever_ends_the_run_in_one_process_ends_all_after_the_same_step(tmp_path):
    outcomes = []
    for processes in (1, 2):
        train = partial(classify, fault=at(8, several.terminate, rank=processes - 1))
        outcomes.append(trained(train, tmp_path / f"{processes}", "--replicas", 2, processes=processes))
        assert summary(tmp_path / f"{processes}")["iterations"] == 9
    assert outcomes[0] == outcomes[1]


def test_a_loss_that_is_not_finite_in_one_process_stops_all(tmp_path):
    run_several(partial(classify, nan=5), tmp_path / "alone", "--replicas", 2, processes=1)
    ended = run_several(partial(classify, nan=5), tmp_path / "run", processes=2)
    assert ended.statuses == [1, 1]
    assert outcome(tmp_path / "alone") == outcome(tmp_path / "run")
    reason = summary(tmp_path / "run")["reason"]
    assert "loss is nan at iteration" in reason
    assert all(reason in log for log in ended.logs)
    line = json.loads((tmp_path / "run" / "non_finite.jsonl").read_text())
    assert 5 in line["samples"]


@pytest.mark.parametrize(("processes", "who"), [(2, "processes 0 and 1 differ"), (4, "process 1 differs")])
def test_one_flipped_bit_stops_the_run_before_it_is_saved(processes, who, tmp_path):
    train = partial(classify, fault=at(8, several.flip_a_bit))
    ended = run_several(train, tmp_path / "run", processes=processes)
    assert ended.statuses == [1] * processes
    assert "model is not the same in all processes" in ended.logs[0]
    assert who in ended.logs[0]
    assert load_newest(tmp_path / "run" / "checkpoints")["engine"]["iteration"] <= 8


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 4])
def test_a_process_that_dies_is_named(processes, tmp_path):
    train = partial(classify, fault=at(8, several.kill))
    ended = run_several(train, tmp_path / "run", processes=processes)
    assert ended.statuses == [1 if rank != 1 else -9 for rank in range(processes)], ended.logs
    assert "process 1 has died" in ended.logs[0]


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 4])
def test_a_process_that_hangs_is_named_in_time(processes, tmp_path):
    train = partial(classify, fault=at(8, several.stop))
    options = ["--process-timeout-s", 5]
    ended = run_several(train, tmp_path / "run", *options, processes=processes, limit_s=40)
    assert ended.statuses == [1 if rank != 1 else -9 for rank in range(processes)], ended.logs
    assert "process 1 has not answered for 5 s" in ended.logs[0]


@pytest.mark.slow
def test_the_first_process_that_hangs_is_named_though_it_holds_the_store(tmp_path):
    train = partial(classify, fault=at(8, several.stop, rank=0))
    ended = run_several(train, tmp_path / "run", "--process-timeout-s", 5, limit_s=40)
    assert ended.statuses == [-9, 1], ended.logs
    assert "process 0 has not answered for 5 s" in ended.logs[1]


@pytest.mark.slow
def test_processes_that_wait_in_different_places_are_told_so(tmp_path):
    train = partial(classify, fault=at(8, several.end_an_epoch))
    ended = run_several(train, tmp_path / "run", "--process-timeout-s", 5, limit_s=40)
    assert ended.statuses == [1, 1], ended.logs
    assert "the processes wait for each other in different places" in ended.logs[0]


@pytest.mark.parametrize("options", [[], ["--save-in-background"]], ids=str)
def test_saves_that_fail_in_the_main_process_are_nobody_elses_fault(options, tmp_path):
    for processes in (1, 2):
        train = partial(classify, fault=at(8, several.forbid_writing, rank=0))
        directory = tmp_path / f"{processes}"
        ended = run_several(train, directory, "--replicas", 2, *options, processes=processes)
        assert ended.statuses == [2] * processes, ended.logs
        assert "was not saved" in ended.logs[0].splitlines()[-1]
        assert "Traceback" not in "".join(ended.logs)
        assert summary(directory)["iterations"] == LENGTH * several.EPOCHS


def test_one_replica_needs_one_process(tmp_path):
    alone = trained(classify, tmp_path / "1", processes=1)
    ended = run_several(classify, tmp_path / "2", "--replicas", 1, processes=2)
    assert ended.statuses == [0, 0], ended.logs
    assert "1 of 2 processes compute what is cut into 1; 1 waits" in ended.logs[0]
    assert outcome(tmp_path / "2") == alone


def test_a_defect_in_one_process_keeps_its_traceback_and_ends_all(tmp_path):
    ended = run_several(partial(classify, fault=at(8, several.fail)), tmp_path / "run", processes=2)
    assert ended.statuses == [1, 1]
    assert "ZeroDivisionError: a defect" in ended.logs[1]
    assert ended.logs[0].splitlines()[-1] == "process 1 has ended: a defect"


@pytest.mark.slow
def test_a_sample_that_one_process_cannot_read_is_one_line(tmp_path):
    for bad in range(4):  # whichever process has it
        ended = run_several(partial(classify, bad=(bad,)), tmp_path / f"run{bad}", processes=2)
        assert ended.statuses == [2, 2]
        lines = [line for log in ended.logs for line in log.splitlines() if f"sample {bad} of" in line]
        assert len(lines) == 1
        assert "--on-bad-sample skip" in lines[0]


def test_samples_that_several_processes_skip_are_told_together(tmp_path):
    trained(
        partial(classify, bad=(3,)), tmp_path / "1", "--on-bad-sample", "skip", "--replicas", 2, processes=1
    )
    ended = run_several(partial(classify, bad=(3,)), tmp_path / "2", "--on-bad-sample", "skip", processes=2)
    assert "1 samples could not be read, and others stood in for them: 3" in ended.logs[0]
    assert outcome(tmp_path / "1") == outcome(tmp_path / "2")


@pytest.mark.parametrize("bad_val", [range(4, 8), (1, *range(8, 16), 20)], ids=str)
def test_batches_of_which_nothing_can_be_read_are_left_out_of_a_shared_evaluation(tmp_path, bad_val):
    train, skip = partial(classify, bad_val=bad_val), ["--on-bad-sample", "skip", "--replicas", 2]
    one, two = (trained(train, tmp_path / f"{count}", *skip, processes=count) for count in (1, 2))
    assert one == two
    epochs = [line for line in one[1] if line["kind"] == "epoch"]
    assert [line["val/seen"] for line in epochs] == [21.0 - len(set(bad_val))] * several.EPOCHS


@pytest.mark.parametrize("processes", [1, 2])
def test_a_validation_of_which_nothing_can_be_read_is_one_line(tmp_path, processes):
    train = partial(classify, bad_val=range(21))
    ended = run_several(train, tmp_path / "run", "--on-bad-sample", "skip", processes=processes)
    assert ended.statuses == [2] * processes
    assert "no sample for evaluation can be read: image " in ended.logs[0]
    assert "--on-bad-sample skip" not in ended.logs[0]


@pytest.mark.parametrize("processes", [1, 2])
def test_a_step_that_updates_by_itself_is_refused(processes, tmp_path):
    ended = run_several(update_by_hand, tmp_path / "run", "--replicas", 2, processes=processes)
    assert ended.statuses == [2] * processes, ended.logs
    assert "compute.update(optimizer, forward, parts)" in ended.logs[0]
    assert "Traceback" not in ended.logs[0]
    trained(update_by_hand, tmp_path / "alone", processes=1)


def test_a_batch_that_cannot_be_cut_is_refused(tmp_path):
    ended = run_several(classify, tmp_path / "run", "--replicas", 2 * BATCH, processes=2)
    assert ended.statuses == [2, 2]
    assert f"batch_size must be a multiple of {2 * BATCH}" in ended.logs[0]
    assert ended.logs[1] == ""
    assert not (tmp_path / "run").exists()


def test_a_generator_of_ones_own_is_told_of(tmp_path):
    ended = run_several(several.classify_with_a_generator, tmp_path / "run", processes=2)
    assert ended.statuses == [0, 0], ended.logs
    assert "draws for as many replicas as a process computes" in ended.logs[0]


def test_processes_with_different_data_are_refused(tmp_path):
    ended = run_several(several.classify_other_data, tmp_path / "run", processes=2)
    assert ended.statuses == [2, 2]
    assert "the processes have different data: train was 48 and is 56 in process 1" in ended.logs[0]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE is 2, and RANK is not set: start with torchrun"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE must be a whole number, got 'two'"),
    ],
)
def test_an_environment_that_is_no_launchers_is_one_line(environment, message, monkeypatch, tmp_path, capsys):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as exit_:
        launch(classify, Parser(), ["--output", str(tmp_path / "run")], task="several")
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_rank_that_an_earlier_job_has_left_is_none(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("RANK", "1")
    launch(classify, Parser(), ["--output", str(tmp_path / "run"), "--visdom", "off"], task="several")
    assert summary(tmp_path / "run")["status"] == "completed"
    assert "epoch" in capsys.readouterr().err


def test_more_processes_than_gpus_are_refused(monkeypatch):
    processes = Processes(device="cuda")
    processes.started = 4  # as if they had met
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(BadInput, match="2 processes need as many GPUs, and here are 1: start torchrun with"):
        processes.take_places(2)  # the other two only wait


def test_the_verdict_names_a_straggler(tmp_path):
    trained(partial(classify, slow_s=0.02), tmp_path / "run", processes=2)
    timing = summary(tmp_path / "run")["timing"]
    assert timing["diagnosis"].startswith("straggler: process 1 waits for data for ")
    assert timing["processes"][0]["others"] > 0.2
