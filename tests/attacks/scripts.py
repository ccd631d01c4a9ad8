"""What is done to the scripts that train nothing: translation, profiler and board."""

import os
import shutil
import signal
import time
from urllib.request import urlopen

from tests.attacks.files import damage, replace_by
from tests.attacks.legs import Broken, Leg, Skipped
from tests.attacks.life import Life
from tests.support.runs import SCRIPTS
from tests.support.visdom_process import unused_port


def translated(life: Life) -> None:
    """Images of all sorts are translated, or those that cannot be are named."""
    checkpoint = life.folder / "checkpoint.pt"
    shutil.copy(max(life.subject.whole.glob("checkpoints/*.pt")), checkpoint)
    images = life.folder / "images"
    shutil.copytree(life.subject.folder.parent / "images" / "train" / "bird", images)
    life.directory = life.folder
    what = life.rng.choice(["checkpoint", "image", "image", "output", "signal"])
    life.tell(what)
    if what in ("checkpoint", "image"):
        damage(life, checkpoint if what == "checkpoint" else life.rng.choice(sorted(images.iterdir())))
    output = life.folder / "output"
    if what == "output":
        replace_by(life, output, life.rng.choice(["empty", "FIFO", "device", "dangling link"]))
    script = SCRIPTS / "translate.py"
    leg = life.watch(
        Leg([str(script), str(checkpoint), str(images), "--output", str(output)], life.folder / "leg")
    )
    if what == "signal":
        time.sleep(life.rng.uniform(0, 1.5))
        leg.send(life.rng.choice([signal.SIGINT, signal.SIGTERM, signal.SIGKILL]))
    life.ended(leg, 0, 2)
    if what != "signal" and list(output.glob(".*.tmp")):
        raise Broken("no temporary files", str(leg))
    life.directory = life.folder / "run"


def profiled(life: Life) -> None:
    """The profiler meets bad data, few descriptors, or a signal."""
    life.directory = life.folder
    data = life.folder / "data"
    shutil.copytree(life.subject.folder.parent / "images", data)
    what = life.rng.choice(["image", "signal", "signal", "output"])
    life.tell(what)
    if what == "image":
        damage(life, life.rng.choice(sorted(data.rglob("*.png"))))
    output = life.folder / "profile"
    if what == "output":
        replace_by(life, output, life.rng.choice(["empty", "FIFO", "dangling link"]))
    options = ["--task", "cifar2", "--data-root", data, "--batch-size", "2", "--precision", "fp32"]
    command = [SCRIPTS / "profile_data.py", *options, "--seconds", "0.01", "--output", output]
    leg = life.watch(Leg(list(map(str, command)), life.folder / "leg"))
    if what == "signal":
        time.sleep(life.rng.uniform(0, 8))
        leg.send(life.rng.choice([signal.SIGINT, signal.SIGTERM, signal.SIGKILL]))
    life.ended(leg, 0, 2)
    life.directory = life.folder / "run"


def board(life: Life) -> None:
    """The board shows what it can of a run that is damaged in several places, and ends when it is told to."""
    life.directory = life.folder / "runs" / "task" / "run"
    life.begin_in_the_middle()
    paths = sorted(path for path in life.directory.rglob("*") if path.suffix != ".pt")
    for path in life.rng.sample(paths, 2):
        if os.path.lexists(path):
            damage(life, path)
    port = unused_port()
    leg = life.watch(
        Leg(["-m", "ignite_pipeline.board", "--port", str(port)], life.folder / "leg", cold=True)
    )
    limit = time.monotonic() + 60
    while "Ctrl-C ends it" not in leg.output():
        if leg.poll() is not None and "front end" in leg.error():
            raise Skipped("the board's front end is not there")
        if leg.poll() is not None or time.monotonic() > limit:
            raise Broken("a board", str(leg))
        time.sleep(0.05)
    time.sleep(life.rng.uniform(0, 3))
    with urlopen(f"http://localhost:{port}/", timeout=20) as answer:
        if answer.status != 200:
            raise Broken("a page", f"{answer.status}\n{leg}")
    leg.send(life.rng.choice([signal.SIGINT, signal.SIGTERM]))
    life.ended(leg, 0, limit_s=30)
    life.directory = life.folder / "run"
