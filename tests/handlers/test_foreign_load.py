"""Cores that others use while a run wants them, planted and real."""

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from ignite.engine import Engine, Events

import handlers
from handlers.cpu_times import CpuReader
from handlers.foreign_load import ForeignLoad
from handlers.process_tree import descendants
from tests.support.clocks import Clock
from tests.support.machines import Machine

WALL_S = 10.0
needs_linux = pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="reads Linux's counts")


def watched(machine, **spent):
    """Return the watch on a run of ten seconds in which these were spent."""
    machine.spend(ran=100.0, waited=50.0, others=70.0, stolen=40.0, held=30.0)
    clock = Clock()
    load = ForeignLoad(clock=clock, make_reader=machine.reader)

    def step(engine, batch):
        clock.spend(WALL_S / 10)
        machine.spend(**{name: seconds / 10 for name, seconds in spent.items()})

    load.attach(trainer := Engine(step))
    trainer.run(range(10))
    clock.spend(100 * WALL_S)  # after the run, which is no part of it
    machine.spend(waited=1000.0)
    return load


def found(load):
    return [(finding.culprit, finding.words) for finding in load.findings()]


def test_other_processes_on_the_core_are_found():
    load = watched(Machine(), ran=3.0, waited=6.0, others=6.0)
    assert found(load) == [("other processes", "core shared: other processes, 60 %")]


def test_workers_and_threads_of_our_own_are_told_from_others():
    load = watched(Machine(), ran=4.0, waited=5.0, rest=2.0, workers=2.5, others=0.5)
    assert found(load) == [
        ("our own workers and threads", "core shared: our own workers and threads, 45 %"),
    ]
    assert load.findings()[0].share == pytest.approx(0.5)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_quota_is_found_that_holds_the_group(version):
    load = watched(Machine(throttling=version), ran=5.0, waited=5.0, held=4.0, others=1.0)
    assert found(load) == [("a CPU quota", "core shared: a CPU quota, 40 %")]


def test_time_stolen_by_the_hypervisor_is_found():
    load = watched(Machine(), ran=8.0, stolen=4.0, others=0.0)
    assert found(load) == [("the hypervisor", "core shared: the hypervisor, 27 %")]


@pytest.mark.parametrize(
    "spent",
    [
        {"ran": 9.9},
        {"ran": 1.0, "others": 9.0},  # it waits for something else, a GPU, say
        {"ran": 8.5, "waited": 1.4, "others": 1.4},
        {"ran": 0.2, "workers": 9.0},
        {"ran": 9.0, "stolen": 1.0},
        {"ran": 1.0, "held": 8.0},  # others of the group were held
    ],
    ids=str,
)
def test_little_lost_is_not_found(spent):
    assert found(watched(Machine(throttling="v2"), **spent)) == []


def test_a_resumed_run_goes_on_counting():
    first = watched(Machine(), ran=1.0, waited=9.0, others=9.0)
    second = watched(Machine(), ran=9.0)
    second.load_state_dict(first.state_dict())
    assert found(second) == found(first)


def test_a_state_loaded_as_a_run_begins_is_added_to_it():
    machine, clock = Machine(), Clock()
    first = watched(Machine(), waited=9.0, others=9.0)
    load = ForeignLoad(clock=clock, make_reader=machine.reader)
    trainer = Engine(lambda engine, batch: (clock.spend(10.0), machine.spend(ran=10.0)))
    trainer.add_event_handler(Events.STARTED, lambda: load.load_state_dict(first.state_dict()))
    load.attach(trainer)
    trainer.run([0])
    assert found(load) == [("other processes", "core shared: other processes, 45 %")]


@pytest.mark.parametrize("error", [FileNotFoundError, PermissionError, ValueError, IndexError])
def test_where_nothing_can_be_read_nothing_is_found(error):
    def read(path):
        raise error(path)

    clock = Clock()
    load = ForeignLoad(clock=clock, make_reader=lambda: CpuReader(read=read, cores={0}))
    load.attach(trainer := Engine(lambda engine, batch: clock.spend(5.0)))
    assert trainer.run([0, 0]).iteration == 2
    assert load.findings() == []


def test_counts_that_can_no_longer_be_read_end_the_watch_and_not_the_run():
    machine, clock = Machine(), Clock()
    load = ForeignLoad(clock=clock, make_reader=machine.reader)

    def step(engine, batch):
        machine.read = None
        clock.spend(5.0)

    def read(path):
        if machine.read is None:
            raise OSError(path)
        return Machine.read(machine, path)

    load.make_reader = lambda: CpuReader(read=read, children=lambda pid: [], cores={0})
    load.attach(trainer := Engine(step))
    trainer.run([0])
    assert load.findings() == []


def test_a_run_that_raises_still_raises_and_is_counted():
    machine, clock = Machine(), Clock()

    def step(engine, batch):
        clock.spend(5.0)
        machine.spend(waited=5.0, others=5.0)
        raise RuntimeError("planted")

    load = ForeignLoad(clock=clock, make_reader=machine.reader).attach(trainer := Engine(step))
    with pytest.raises(RuntimeError, match="planted"):
        trainer.run([0])
    clock.spend(100.0)
    assert found(load) == [("other processes", "core shared: other processes, 100 %")]


# Whenever it is told to, it trains for a second on one core, perhaps before everybody else, and beside busy
# children of its own.
TRAINING = """
import os, subprocess, sys, time
from ignite.engine import Engine
from handlers.foreign_load import ForeignLoad

def step(engine, batch):
    end_s = time.perf_counter() + 0.6
    while time.perf_counter() < end_s:
        pass

os.sched_setaffinity(0, {int(sys.argv[1])})
print("begins", flush=True)
for line in sys.stdin:
    policy, children = line.split()
    try:
        os.sched_setscheduler(0, getattr(os, policy), os.sched_param(int(policy == "SCHED_RR")))
    except PermissionError:
        print("may not", flush=True)
        continue
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(int(children))]
    trainer = Engine(step)
    load = ForeignLoad().attach(trainer)
    trainer.run(range(2))
    for child in busy:
        child.kill()
        child.wait()
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    print([finding.culprit for finding in load.findings()], load.times(), flush=True)
"""


def python(code, *args):
    """Start a process that is spoken to in lines."""
    root = str(Path(handlers.__file__).parent.parent)
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)],
        env={**os.environ, "PYTHONPATH": root},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def end(process):
    process.kill()
    process.communicate()


@contextmanager
def busy(core, count):
    """Let so many processes take all that they can get of a core."""
    code = f"import os; os.sched_setaffinity(0, {{{core}}}); print('begins', flush=True)\nwhile True: pass"
    processes = [python(code) for _ in range(count)]
    try:
        assert [process.stdout.readline() for process in processes] == ["begins\n"] * count
        yield
    finally:
        for process in processes:
            end(process)


@pytest.fixture(scope="module")
def core():
    return max(os.sched_getaffinity(0))


@pytest.fixture(scope="module")
def training(core):
    """Train on the core, and return who is found."""
    process = python(TRAINING, core)
    assert process.stdout.readline() == "begins\n"

    def found_in_a_run(policy, children):
        print(policy, children, file=process.stdin, flush=True)
        said = process.stdout.readline()
        if said == "may not\n":
            pytest.skip("only a privileged process may come before others")
        return said

    yield found_in_a_run
    end(process)


@needs_linux
def test_two_busy_processes_on_the_core_of_a_run_are_found(core, training):
    with busy(core, 2):
        assert training("SCHED_OTHER", 0).startswith("['other processes']")


# Before all others, a run is as good as alone on its core, whatever else the machine has to do.
@needs_linux
def test_busy_children_of_a_run_are_found_as_its_own(training):
    assert training("SCHED_RR", 3).startswith("['our own workers and threads']")


@needs_linux
def test_a_run_that_has_its_core_to_itself_has_nothing_to_complain_of(training):
    assert training("SCHED_RR", 0).startswith("[]")


@needs_linux
def test_children_and_their_children_are_found():
    code = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE)\n"
        "print(child.pid, flush=True)\ninput()\nchild.communicate(b'x')"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        grandchild = int(child.stdout.readline())
        assert {child.pid, grandchild} <= set(descendants(os.getpid()))
        assert descendants(child.pid) == [grandchild]
        child.communicate("\n")
    assert child.pid not in descendants(os.getpid())


def test_lists_of_children_are_followed_where_the_kernel_keeps_them(tmp_path):
    for task, children in {"1/1": "2 3 ", "1/9": "4 ", "2/2": "", "3/3": "5", "4/4": "", "5/5": ""}.items():
        folder = tmp_path / task.replace("/", "/task/")
        folder.mkdir(parents=True)
        (folder / "children").write_text(children)
    assert sorted(descendants(1, proc=tmp_path)) == [2, 3, 4, 5]
