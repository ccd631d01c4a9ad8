"""Runs to be compared: copies of a real one, each as if begun at another second and as long as one likes."""

import json
import shutil
from pathlib import Path

from ignite_pipeline.compare.__main__ import main

# A checkpoint after each iteration, as other tests of small runs have them, is not what is looked at here.
OPTIONS = ["--model", "fully-connected", "--num-workers", 0, "--checkpoint-every-s", 60]
STEADY = (1.0, 1.01, 0.99)  # how many times as long each run of a side takes


def copy(run: Path, to: Path, *, begun_s: int = 0, factor: float = 1.0, medians_too: bool = True) -> Path:
    """Copy a run, as if begun at that second of a minute, with times that many times as long."""
    shutil.copytree(run, to, ignore=shutil.ignore_patterns("checkpoints", "report.png"))
    edit(to / "config.json", lambda config: set_start(config, begun_s))
    edit(to / "summary.json", lambda summary: lengthen(summary["timing"], factor, medians_too))
    lines = [json.loads(line) for line in (to / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        line |= {name: factor * value for name, value in line.items() if name.startswith("time/")}
    (to / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return to


def set_start(config, begun_s):
    config["sessions"][0]["started"] = f"2026-11-27T01:00:{begun_s:02}+0000"


def lengthen(timing, factor, medians_too):
    for name, value in timing.items():
        if name.endswith("_s") and isinstance(value, float):
            timing[name] = factor * value
    if medians_too:
        timing["median_s"] = {part: factor * value for part, value in timing["median_s"].items()}


def edit(path: Path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def status_of(*arguments: object) -> int:
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as stop:
        return stop.code
    return 0


def times(factor: float) -> tuple[float, float, float]:
    return tuple(factor * one for one in (1.005, 0.995, 1.01))
