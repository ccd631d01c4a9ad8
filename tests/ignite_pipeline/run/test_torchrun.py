"""torchrun starts processes, starts them again when one dies, and with fewer machines: the same bits."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support import several
from tests.support.killing import QUIET
from tests.support.runs import SCRIPTS, outcome

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("TORTURE_KILLS", "2"))
SEED = int(os.environ.get("TORTURE_SEED", "0"))
# Every iteration is saved, so that it takes some 15 s.
LONG = [*QUIET, "--replicas", "4", "--epochs", "40"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}


def torchrun(*words: object, log: Path, cwd: Path | None = None) -> subprocess.Popen:
    command = [sys.executable, "-m", "torch.distributed.run", *map(str, words)]
    with open(log, "w") as file:
        return subprocess.Popen(
            command, stdout=file, stderr=file, env=ENVIRONMENT, cwd=cwd, start_new_session=True
        )


def workers_of(agent: subprocess.Popen) -> list[int]:
    """Return the processes that an agent has started."""
    with suppress(OSError):
        children = Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split()
        return [int(child) for child in children if b"several.py" in _command(child)]
    return []


def _command(process: str) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_bytes()
    return b""


def saved(directory: Path) -> int:
    """Return the iteration of the newest checkpoint."""
    names = [path.stem.rpartition("_")[2] for path in directory.glob("checkpoints/checkpoint_*.pt")]
    return max(map(int, names), default=-1)


def wait_until_saved(directory: Path, iteration: int, agent: subprocess.Popen, limit_s: float = 120) -> None:
    """Wait until the run has come so far, or is over."""
    end_s = time.monotonic() + limit_s
    while saved(directory) < iteration and agent.poll() is None:
        assert time.monotonic() < end_s, f"nothing beyond iteration {saved(directory)}"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    directory = tmp_path_factory.mktemp("whole") / "run"
    command = [sys.executable, several.__file__, "--output", str(directory), *LONG]
    subprocess.run(command, env=ENVIRONMENT, check=True, timeout=300, capture_output=True)
    return outcome(directory)


@pytest.mark.parametrize("given", [["--output", "run"], []], ids=["output", "default"])
def test_workers_that_are_killed_are_started_again_and_end_with_the_same_bits(given, whole, tmp_path):
    draw = random.Random(SEED)
    words = ["--standalone", "--nproc-per-node", 2, "--max-restarts", KILLS, several.__file__, *given, *LONG]
    agent = torchrun(*words, log=tmp_path / "log", cwd=tmp_path)
    killed = []
    try:
        for _ in range(KILLS):
            directory = next(iter(_runs(tmp_path, given)), tmp_path / "none")
            at = max(saved(directory), 0) + draw.randrange(1, max(2, 200 // KILLS))
            while saved(directory) < at and agent.poll() is None:
                directory = next(iter(_runs(tmp_path, given)), directory)
                time.sleep(0.02)
            if workers := workers_of(agent):
                killed.append(draw.choice(workers))
                with suppress(ProcessLookupError):
                    os.kill(killed[-1], signal.SIGKILL)
                time.sleep(1)
        assert agent.wait(300) == 0, (tmp_path / "log").read_text()
    finally:
        end(agent)
    (directory,) = _runs(tmp_path, given)
    sessions = json.loads((directory / "config.json").read_text())["sessions"]
    print(f"{len(killed)} killed; sessions began at {[session['from_iteration'] for session in sessions]}")
    assert len(sessions) > 1
    assert outcome(directory) == whole


def _runs(tmp_path: Path, given: list[str]) -> list[Path]:
    folder = tmp_path if given else tmp_path / "runs" / "several"
    return [path.parent for path in folder.glob("*/config.json")]


def end(agent: subprocess.Popen) -> None:
    """End an agent and its workers, which torchrun puts into sessions of their own."""
    for process in [*workers_of(agent), agent.pid]:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    agent.wait(10)


def test_one_of_two_machines_is_lost_and_the_other_goes_on_alone(whole, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    meeting = ["--nnodes", "1:2", "--nproc-per-node", 1, "--max-restarts", 3, "--rdzv-backend", "c10d"]
    meeting += ["--rdzv-endpoint", f"localhost:{port}", "--rdzv-id", "two", "--local-addr", "127.0.0.1"]
    meeting += ["--rdzv-conf", "last_call_timeout=3,join_timeout=60"]
    words = [*meeting, several.__file__, "--output", tmp_path / "run", *LONG]
    host = torchrun(*words, log=tmp_path / "host.log")
    time.sleep(1)
    guest = torchrun(*words, log=tmp_path / "guest.log")
    try:
        wait_until_saved(tmp_path / "run", 60, host)
        end(guest)
        assert host.wait(240) == 0, (tmp_path / "host.log").read_text()
    finally:
        end(guest)
        end(host)
    sessions = json.loads((tmp_path / "run" / "config.json").read_text())["sessions"]
    assert [session["processes"] for session in sessions] == [2, 1]
    assert outcome(tmp_path / "run") == whole


def test_a_script_of_ours_under_torchrun(tmp_path):
    script = SCRIPTS / "run_cifar2.py"
    options = ["--dataset", "generated", "--model", "conv", "--max-iterations", 20, "--visdom", "off"]
    options += ["--num-workers", 0, "--precision", "fp32"]
    agent = torchrun(
        "--standalone",
        "--nproc-per-node",
        2,
        script,
        *options,
        "--output",
        tmp_path / "2",
        log=tmp_path / "log",
    )
    assert agent.wait(120) == 0, (tmp_path / "log").read_text()
    command = [sys.executable, script, *options, "--replicas", 2, "--output", tmp_path / "1"]
    subprocess.run(list(map(str, command)), env=ENVIRONMENT, check=True, timeout=120, capture_output=True)
    assert outcome(tmp_path / "1") == outcome(tmp_path / "2")
