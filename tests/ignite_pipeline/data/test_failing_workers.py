"""Workers that cannot start, die, or cannot hand over what they have loaded."""

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch
from ignite.engine import Engine
from torch.utils.data import Dataset, default_collate, get_worker_info

from ignite_pipeline.data.loading import endless_loader, evaluation_loader
from ignite_pipeline.data.worker_process import WorkersFailed
from ignite_pipeline.run.auto_workers import AutoWorkers


class Samples(Dataset):
    """Numbers that take a while to load; in a worker, ``fail`` is called for that of ``at``."""

    def __init__(self, fail=lambda: None, at=30):
        self.fail, self.at = fail, at

    def __len__(self):
        return 40

    def __getitem__(self, index):
        time.sleep(0.001)
        if index == self.at and get_worker_info():
            self.fail()
        return torch.tensor([index])


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def crash():
    signal.signal(signal.SIGSEGV, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGSEGV)


def leave():
    os._exit(3)


class Unsendable:
    """Goes into no other process."""

    def __init__(self, batch):
        self.batch, self.lock = batch, threading.Lock()


def unsendable(samples):
    return Unsendable(default_collate(samples))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dataset": Samples(die)}, r"a worker died while samples \[.*30.*\] were loaded \(SIGKILL\)"),
        (
            {"dataset": Samples(crash)},
            r"a worker died while .* \(SIGSEGV\); give the loader multiprocessing_context='forkserver'",
        ),
        (
            {"dataset": Samples(leave)},
            r"a worker died while samples \[.*30.*\] were loaded \(exit status 3\)",
        ),
        (
            {"dataset": Samples(), "collate_fn": unsendable},
            r"could not hand over a batch \(TypeError: cannot pickle '_thread.lock' object\)",
        ),
        (
            {"dataset": Samples(threading.Lock()), "multiprocessing_context": "spawn"},
            r"2 workers could not be started \(.*pickle",
        ),
    ],
)
def test_what_has_become_of_workers_is_said(options, said):
    loader = endless_loader(batch_size=4, seed=0, num_workers=2, **options)
    with pytest.raises(WorkersFailed, match=said + ".*(;|, or) load without workers: --num-workers 0"):
        for _, _ in zip(range(30), loader, strict=False):
            pass


def test_what_has_become_of_workers_is_said_of_an_evaluation_too():
    loader = evaluation_loader(Samples(), batch_size=4, num_workers=2, collate_fn=unsendable)
    with pytest.raises(WorkersFailed, match="could not hand over a batch"):
        list(loader)


def test_a_worker_that_dies_while_another_loader_is_asked_is_noticed_when_it_is_asked():
    dead = torch.zeros(1).share_memory_()

    def die_later():
        time.sleep(0.5)
        dead.fill_(1)
        die()

    training = iter(
        endless_loader(Samples(die_later), batch_size=1, seed=0, num_workers=1, prefetch_factor=40)
    )
    next(training)
    while not dead:
        time.sleep(0.01)
    for _ in range(3):
        assert len(list(evaluation_loader(Samples(), batch_size=20, num_workers=1))) == 2
    with pytest.raises(WorkersFailed, match="a worker died"):
        list(zip(range(40), training, strict=False))


AT_EXIT = """
import multiprocessing, signal, subprocess, sys, time, torch
from ignite_pipeline.data.loading import evaluation_loader

class Samples(torch.utils.data.Dataset):
    def __len__(self):
        return 8
    def __getitem__(self, index):
        child = subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        child.terminate()
        child.wait()  # it is no worker: it ends when it is told to
        if index == 5:
            raise KeyError("a defect")
        return index

def clean_up(number, frame):
    print("cleaned up", flush=True)
    sys.exit()

def serve():
    signal.signal(signal.SIGTERM, clean_up)
    print("serving", flush=True)
    time.sleep(60)

server = multiprocessing.Process(target=serve, daemon=True)
server.start()
loader = iter(evaluation_loader(Samples(), batch_size=1, num_workers=1))
print(next(loader), flush=True)
list(loader)
"""


def test_workers_do_not_keep_a_process_from_ending_nor_is_anybody_else_killed():
    done = subprocess.run(
        [sys.executable, "-c", AT_EXIT], capture_output=True, text=True, timeout=40, check=False
    )
    assert done.returncode == 1
    assert "KeyError: 'a defect'" in done.stderr
    assert set(done.stdout.split("\n")) == {"tensor([0])", "serving", "cleaned up", ""}


def test_an_error_of_the_data_is_that_of_the_data():
    def collate(samples):
        raise LookupError("no such thing")

    loader = endless_loader(Samples(), batch_size=4, seed=0, num_workers=1, collate_fn=collate)
    with pytest.raises(LookupError, match="no such thing"):
        next(iter(loader))


@pytest.mark.parametrize("fail", [die, leave])
def test_where_auto_has_tried_workers_that_fail_training_goes_on_without(fail):
    seen, decisions = [], []

    def make_loader(num_workers, start_iteration=0):
        return endless_loader(
            Samples(fail), batch_size=4, seed=0, num_workers=num_workers, start_iteration=start_iteration
        )

    trainer = Engine(lambda engine, batch: seen.append(batch.flatten().tolist()))
    workers = AutoWorkers(
        make_loader,
        iterations=10_000,
        max_workers=2,
        window_s=0.05,
        on_decision=lambda count, reason: decisions.append((count, reason)),
    )
    workers.attach(trainer)
    trainer.run(make_loader(0), max_epochs=20, epoch_length=10)
    expected = [batch.flatten().tolist() for _, batch in zip(range(200), make_loader(0), strict=False)]
    assert seen == expected
    assert decisions[-1][0] == 0
    assert "a worker died" in decisions[-1][1]


SMALL_SHM = """
mount -t tmpfs -o size={size} tmpfs /dev/shm || exit 77
exec "$@"
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "said"),
    [("4k", "2 workers could not be started"), ("300k", "a worker could not hand over a batch")],
)
def test_a_dev_shm_that_is_too_small_ends_a_run_with_the_reason(image_tree, tmp_path, size, said):
    script = [sys.executable, "scripts/run_cifar2.py", "--data-root", image_tree, "--batch-size", "16"]
    options = ["--num-workers", "2", "--visdom", "off", "--output", tmp_path / "run"]
    command = ["unshare", "-m", "bash", "-c", SMALL_SHM.format(size=size), "bash", *script, *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip(f"no file system may be mounted here: {done.stderr.strip()}")
    assert done.returncode == 2, done.stderr
    line = done.stderr.splitlines()[-1]  # older versions of torch say something before it
    assert f"error: {said} (" in line
    assert "No space left on device" in line or "SIGBUS" in line
    assert "give /dev/shm more memory" in line


def test_workers_of_a_loader_that_the_collector_frees_have_ended_when_it_has():
    before = multiprocessing.active_children()
    iterator = iter(endless_loader(Samples(), batch_size=4, seed=0, num_workers=2))
    next(iterator)
    workers = [child for child in multiprocessing.active_children() if child not in before]
    assert len(workers) == 2
    circle = [iterator]
    circle.append(circle)
    del circle, iterator
    gc.collect()
    for worker in workers:
        worker.join(5)
    assert [worker.exitcode for worker in workers] == [-signal.SIGKILL] * 2
