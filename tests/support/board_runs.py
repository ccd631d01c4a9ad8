"""Directories of small runs, and the windows that a board has for them."""

import json
import signal
from contextlib import contextmanager

from PIL import Image

EPOCHS = [
    {"kind": "epoch", "epoch": epoch, "iteration": 10 * epoch, "val/loss": 1 / epoch, "time/fetch_s": 0.5}
    for epoch in (1, 2, 3)
]
SHOWN = {"text/run", "loss", "time/", "image/samples"}
LOST = {"metrics.jsonl": {"loss", "time/"}, "samples": {"image/samples"}, ".": SHOWN - {"text/run"}}
SAMPLE = "samples/epoch_0001.png"


def as_lines(*records):
    return "".join(f"{record if isinstance(record, str) else json.dumps(record)}\n" for record in records)


def write_run(directory):
    (directory / "samples").mkdir(parents=True)
    Image.new("RGB", (8, 4)).save(directory / SAMPLE)
    (directory / "metrics.jsonl").write_text(as_lines(*EPOCHS))
    (directory / "summary.json").write_text(json.dumps({"status": "completed", "timing": None, "best": None}))
    (directory / "config.json").write_text(json.dumps({"options": {"visdom": "auto"}, "dataset": None}))
    (directory / ".lock").write_text("1")
    return directory


@contextmanager
def within(seconds):
    """Raise ``TimeoutError`` in what would else wait for ever."""

    def give_up(number, frame):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def refuse(constant):
    raise ValueError(f"{constant} is no JSON")


def shown(update, rounds=2):
    """Return the ids of the windows that are there after some rounds, by environment; all must be JSON."""
    with within(60):
        for _ in range(rounds):
            windows = update()
        contents = {key: f"{{{window.content()}}}" for key, window in windows.items()}
    ids = {}
    for (environment, name), content in contents.items():
        json.loads(content, parse_constant=refuse)
        assert len(content) < 2**24
        ids.setdefault(environment, set()).add(name)
    return ids


def remove(path):
    if path.is_dir():
        for inner in path.iterdir():
            inner.unlink()
        path.rmdir()
    else:
        path.unlink()


def holding(content):
    def write(path):
        if path.is_dir():
            remove(path)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return write


def compared(damaged):
    return {} if damaged in ("metrics.jsonl", ".") else {"compare": {"loss · validation"}}


def epoch(number, **metrics):
    return {"kind": "epoch", "epoch": number, "iteration": 10 * number, **metrics}
