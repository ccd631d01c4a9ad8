"""Whatever a power cut leaves of a run directory, nothing that was promised is lost.

Real runs are traced, and all that may be left of their directories, at any moment, is looked at.
"""

import copy
import json
import os
import random
import subprocess
import sys
import tempfile
from collections import deque
from functools import cache
from pathlib import Path

import pytest

import run_cifar2
from handlers import load_newest
from handlers.checkpoint_files import checkpoint_path, load_checkpoint
from handlers.errors import UnusableRun
from tests.support.power_cut import Disk, File, Folder, replay, strace, sync
from tests.support.runs import SCRIPTS, SMALL, outcome, train, untimed

pytestmark = pytest.mark.slow

# A checkpoint after each iteration, and lines of metrics.jsonl after 32, 50 and 64.
OPTIONS = [*SMALL, "--epochs", "2", "--model", "conv", "--num-workers", "0", "--visdom", "off"]
RUN = "runs/run"
CHECKPOINTS, METRICS = f"{RUN}/checkpoints", f"{RUN}/metrics.jsonl"


@pytest.fixture(scope="module")
def undisturbed_run(image_tree, tmp_path_factory):
    directory = tmp_path_factory.mktemp("undisturbed") / "run"
    train(image_tree, directory, *OPTIONS)
    return directory


@pytest.fixture(scope="module")
def legs(image_tree, tmp_path_factory):
    """The disk before each of two legs of a run, and what was done there.

    The newest checkpoint of the first is damaged, so that the second repeats its last line.
    """
    try:
        subprocess.run(["strace", "-o", os.devnull, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:  # not installed, or not allowed to trace
        pytest.skip(f"strace does not work here: {error}")
    root, traces = tmp_path_factory.mktemp("disk"), tmp_path_factory.mktemp("traces")

    def traced(name, *options):
        before, trace = Disk(root), traces / name
        command = [*strace(trace), sys.executable, SCRIPTS / "run_cifar2.py", *options]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        after = copy.deepcopy(before)
        deque(replay(trace, after), maxlen=0)
        assert after.now() == Disk(root).now()  # else something was done that the replay does not know of
        return before, trace

    place = ["--data-root", image_tree, "--output", root / RUN]
    first = traced("first", *place, *OPTIONS, "--max-iterations", "50")
    newest = root / CHECKPOINTS / "checkpoint_00000050.pt"
    newest.write_bytes(newest.read_bytes()[:-1])
    return [first, traced("second", "--resume", root / RUN, "--max-iterations", "64", "--save-in-background")]


def write_tree(tree, root):
    for path, content in tree.items():
        if path.endswith("/"):
            (root / path).mkdir(parents=True)
        else:
            (root / path).write_bytes(content)


@cache
def newest_iteration(checkpoints):
    """Return that of the checkpoint that is resumed from, if the best is there too; -1 if there is none."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_tree(dict(checkpoints), folder)
        try:
            newest = load_newest(folder)
            if newest["best"] is not None:
                load_checkpoint(checkpoint_path(folder, newest["best"][1]), lazily=True)
        except UnusableRun:
            return -1
    return newest["engine"]["iteration"]


def newest_in(tree):
    files = {path.removeprefix(f"{CHECKPOINTS}/"): content for path, content in tree.items()}
    return newest_iteration(frozenset(it for it in files.items() if it[0].endswith(".pt")))


@cache
def lines_in(content):
    """Return the lines of metrics.jsonl, of which only the last may be cut off."""
    with tempfile.TemporaryDirectory() as folder:
        write_tree({"metrics.jsonl": content}, Path(folder))
        lines = untimed(Path(folder))
    assert len(lines) == content.count(b"\n"), "a line in the middle is damaged"
    return lines


def cuts(leg, *, ignored=""):
    """Yield each tree that may be left of a leg, and of which iteration a checkpoint was promised by then."""
    before, trace = leg
    disk, seen = copy.deepcopy(before), set()
    promised = newest_in(disk.now())
    for synced in replay(trace, disk, ignored=ignored):
        for tree in disk.left():
            key = hash((promised, *tree.items()))
            if key not in seen:
                seen.add(key)
                yield tree, promised
        if synced == CHECKPOINTS:
            promised = newest_in(disk.now())


def assert_nothing_is_lost(legs, expected, *, ignored=""):
    """Look at all that may be left of legs; return the number of trees and what was promised at the end."""
    count = promised = 0
    for leg in legs:
        for tree, promised in cuts(leg, ignored=ignored):
            count += 1
            newest = newest_in(tree)
            assert newest >= promised, "a checkpoint is lost"
            for name in ("config.json", "summary.json"):
                json.loads(tree.get(f"{RUN}/{name}", "{}"))
            if f"{RUN}/config.json" not in tree:
                assert not {METRICS, f"{CHECKPOINTS}/"} & tree.keys(), "neither resumed nor begun again"
            lines = [line for line in lines_in(tree.get(METRICS, b"")) if line["iteration"] <= newest]
            assert lines == [line for line in expected if line["iteration"] <= newest], "lines are lost"
    return count, promised


@pytest.mark.parametrize(("number", "iterations"), [(0, 50), (1, 64)])
def test_a_checkpoint_stays_and_with_it_the_lines_that_led_to_it(legs, undisturbed_run, number, iterations):
    count, promised = assert_nothing_is_lost([legs[number]], untimed(undisturbed_run))
    assert count > 100
    print("COUNT", count)
    assert promised == iterations


@pytest.mark.parametrize(
    ("ignored", "lost"),
    [
        (".", "a checkpoint is lost"),
        ("runs", "a checkpoint is lost"),
        (RUN, "neither resumed nor begun again"),
        (CHECKPOINTS, "a checkpoint is lost"),
        ("*/.checkpoint_*.pt.tmp", "a checkpoint is lost"),
        (METRICS, "lines are lost"),
        ("*/.metrics.jsonl.tmp", "lines are lost"),
        ("*/.config.json.tmp", "Expecting value"),
    ],
)
def test_without_any_one_of_the_syncs_something_may_be_lost(legs, undisturbed_run, ignored, lost):
    with pytest.raises((AssertionError, ValueError), match=lost):
        assert_nothing_is_lost(legs, untimed(undisturbed_run), ignored=ignored)


def test_a_run_goes_on_from_what_is_left_and_ends_the_same(legs, undisturbed_run, tmp_path, monkeypatch):
    trees = [tree for tree, _ in cuts(legs[0]) if f"{RUN}/config.json" in tree]
    torn = [tree for tree in trees if tree.get(METRICS, b"")[-1:] not in (b"", b"\n")]
    rng = random.Random(0)
    for number, tree in enumerate([*rng.sample(trees, 2), rng.choice(torn)]):
        write_tree(tree, tmp_path / str(number))
        directory = tmp_path / str(number) / RUN
        run_cifar2.main(["--resume", str(directory), "--max-iterations", "64"])
        assert outcome(directory) == outcome(undisturbed_run)


def disk_with(folder, **contents):
    write_tree({name: content.encode() for name, content in contents.items()}, folder)
    return Disk(folder)


def test_a_rename_may_be_there_before_what_the_file_holds(tmp_path):
    disk = disk_with(tmp_path, a="old", b="")
    disk.find("b").pending.append((0, b"new!"))
    disk.rename("b", "a")
    assert {tree["a"] for tree in disk.left()} == {b"old", b"", b"ne", b"\0\0\0\0", b"new!"}
    sync(disk.find("a"))
    assert [tree["a"] for tree in disk.left()] == [b"old", b"new!"]


def test_what_is_appended_may_be_lost_or_cut_off_until_it_is_synced(tmp_path):
    disk = disk_with(tmp_path, a="1\n")
    disk.find("a").pending += [(2, b"22\n"), (5, b"3\n")]
    left = {b"1\n", b"1\n2", b"1\n22\n", b"1\n22\n3", b"1\n22\n3\n", b"1\n" + bytes(5)}
    assert {tree["a"] for tree in disk.left()} == left
    sync(disk.find("a"))
    assert list(disk.left()) == [{"a": b"1\n22\n3\n"}]


def test_an_old_name_may_go_before_a_new_one_comes(tmp_path):
    disk = disk_with(tmp_path, old="1")
    disk.put("new", File(b"2"))
    disk.put("old", None)
    assert [set(tree) for tree in disk.left()] == [{"old"}, set(), {"old", "new"}, {"new"}]
    sync(disk.root)
    assert list(disk.left()) == [{"new": b"2"}]


def test_what_is_in_a_folder_is_lost_with_its_name(tmp_path):
    disk = disk_with(tmp_path)
    disk.put("folder", Folder())
    disk.put("folder/a", File(b"1"))
    sync(disk.find("folder"))
    assert list(disk.left()) == [{}, {"folder/": b"", "folder/a": b"1"}]


def test_of_many_changes_any_one_may_be_missing(tmp_path):
    disk = disk_with(tmp_path)
    names = {f"{number:02d}" for number in range(20)}
    for name in sorted(names):
        disk.put(name, File())
    left = [set(tree) for tree in disk.left()]
    assert all(names - {name} in left and {it for it in names if it < name} in left for name in names)
    assert [left[0], left[-1]] == [set(), names]


def test_what_is_on_the_disk_is_changed_when_a_call_has_succeeded(tmp_path):
    disk = disk_with(tmp_path, a="one")
    trace = tmp_path / "trace"
    a, folder, two = (
        "".join(f"\\x{byte:02x}" for byte in os.fsencode(it))
        for it in (tmp_path / "a", tmp_path / "b", "two")
    )
    trace.write_text(
        f'7  openat(AT_FDCWD<{a}>, "{a}", O_WRONLY|O_APPEND|O_CLOEXEC) = 3<{a}>\n'
        f'7  write(3<{a}>, "{two}", 3 <unfinished ...>\n'
        f'8  mkdir("{folder}", 0777)       = 0\n'
        f'8  mkdir("{folder}", 0777)       = -1 EEXIST (File exists)\n'
        f"7  <... write resumed>)          = 3\n"
        f"7  fsync(3<{a}>)                 = 0\n"
        f"8  +++ exited with 0 +++\n"
    )
    left = [(synced, [(tree["a"], len(tree)) for tree in disk.left()]) for synced in replay(trace, disk)]
    contents = b"one", b"one\0\0\0", b"onet", b"onetwo"
    assert left == [
        ("a", [(content, count) for count in (1, 2) for content in contents]),
        ("", [(b"onetwo", 1), (b"onetwo", 2)]),
    ]
