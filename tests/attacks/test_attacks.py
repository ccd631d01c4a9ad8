"""Runs that are attacked at random end as if nothing had happened, or say in one line why they cannot.

`make attack SECONDS=600` attacks for longer, with other seeds each time; `make attack ATTACK_SEED=1234` tries
that one again.
"""

import os
import subprocess
import sys

import pytest

from tests.support.runs import SCRIPTS

pytestmark = pytest.mark.slow

SECONDS = os.environ.get("ATTACK_SECONDS")
SEED = os.environ.get("ATTACK_SEED")


def test_every_attack_is_held(tmp_path):
    # In a process of its own, without threads: it forks, and what it forks is to begin like a script.
    options = [*(["--seconds", SECONDS] if SECONDS else []), *(["--seed", SEED] if SEED else [])]
    command = [sys.executable, "-m", "tests.attacks", str(tmp_path / "attacks"), *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(SCRIPTS.parent)}
    done = subprocess.run(command, env=environment, check=False)
    assert done.returncode == 0, "an attack did not hold: which one, and what came of it, stands above"
