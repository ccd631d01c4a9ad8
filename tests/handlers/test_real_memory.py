"""Memory of real processes, as Linux counts it: what is left of it, and a real leak is found."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ignite.engine import Engine

from handlers.memories import free_bytes, resident_bytes
from handlers.memory_growth import MemoryGrowth
from ignite_pipeline.machine import available_memory_bytes
from tests.support.clocks import Clock

needs_linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's counts")


def test_where_nothing_can_be_read_nothing_is_known(tmp_path):
    assert resident_bytes([os.getpid()], ["RssAnon"], proc=tmp_path) is None
    assert free_bytes(proc=tmp_path) is None


@pytest.mark.parametrize(
    "free",
    [
        lambda root: free_bytes(proc=root / "proc", groups=root / "sys/fs/cgroup"),
        lambda root: available_memory_bytes(root=root),
    ],
    ids=["handlers", "core"],
)
@pytest.mark.parametrize(
    ("cgroup", "folders", "limit", "used"),
    [
        ("0::/\n", [""], "memory.max", "memory.current"),
        ("0::/jobs/7\n", ["jobs/7", "jobs", ""], "memory.max", "memory.current"),
        (
            "4:cpu:/\n3:hugetlb,memory:/jobs/7\n",
            ["memory/jobs/7", "memory/jobs", "memory"],
            "memory.limit_in_bytes",
            "memory.usage_in_bytes",
        ),
    ],
)
def test_what_is_left_is_the_least_of_the_system_and_the_groups(tmp_path, free, cgroup, folders, limit, used):
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemTotal: 99 kB\nMemAvailable:    5000 kB\n")
    assert free(tmp_path) == 5000 * 1024  # a system without control groups
    (tmp_path / "proc/self/cgroup").write_text(cgroup)
    for left, name in enumerate(folders, start=1000):
        folder = tmp_path / "sys/fs/cgroup" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / limit).write_text("max\n")
        (folder / used).write_text("7\n")
        assert free(tmp_path) == 5000 * 1024
        (folder / limit).write_text(f"{left + 7}\n")
        assert free(tmp_path) == left
        stat = "active_file 1\ninactive_file 2\n"
        if limit != "memory.max":  # which has other names for all groups below
            stat = f"{stat}total_active_file 4\ntotal_inactive_file 8\n"
        (folder / "memory.stat").write_text(stat)
        assert free(tmp_path) == left + (3 if limit == "memory.max" else 12)
        (folder / "memory.stat").unlink()
        (folder / limit).write_text("max\n")


# A mebibyte an iteration, and a clock by which an iteration takes a second.
LEAKING = """
from ignite.engine import Engine
from handlers.memory_growth import MemoryGrowth
kept = []
trainer = Engine(lambda engine, batch: kept.append(bytearray(b"x") * 2**20))
growth = MemoryGrowth(clock=lambda: len(kept)).attach(trainer)
trainer.run(range(200))
(finding,) = growth.findings()
print(finding.culprit, growth.paces()["this process"].value)
"""


@needs_linux
def test_a_real_leak_in_a_real_engine_is_found():
    # In a process of its own: here, what earlier tests have freed would be taken first.
    done = subprocess.run([sys.executable, "-c", LEAKING], capture_output=True, text=True, check=True)
    culprit, pace = done.stdout.strip().rsplit(" ", 1)
    assert culprit == "this process"
    assert float(pace) == pytest.approx(2**20, rel=0.05)


@needs_linux
def test_a_real_worker_that_leaks_is_found_and_named():
    code = "kept = []\nwhile input(): print(len(kept), flush=True), kept.append(bytearray(b'x') * 2**20)"
    clock, pipe = Clock(), subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True) as worker:

        def step(engine, batch):
            clock.spend(1.0)
            print("next", file=worker.stdin, flush=True)
            return int(worker.stdout.readline())

        trainer = Engine(step)
        growth = MemoryGrowth(clock=clock).attach(trainer)
        trainer.run(range(200))
        worker.communicate("\n")
    assert growth.paces()["the workers"].value == pytest.approx(2**20, rel=0.05)
    assert [finding.culprit for finding in growth.findings()] == ["the workers"]


@needs_linux
def test_a_real_engine_that_keeps_nothing_is_left_in_peace():
    clock = Clock()

    def step(engine, batch):
        clock.spend(1.0)
        engine.state.output = bytearray(b"x") * 2**20

    trainer = Engine(step)
    growth = MemoryGrowth(clock=clock).attach(trainer)
    trainer.run(range(200))
    assert growth.findings() == []
