"""What is said of a loop in which one known thing is slow, and what saying it costs: ours and TraceML's.

python benchmarks/diagnosis.py

Each run is a process of its own: a tiny model, 300 iterations in ten epochs, and delays that are slept, see
diagnosis_cases.py. Ours is a recipe, run by `launch`. TraceML sees no step of an Ignite engine, so it has a
plain loop, with ``init(mode="auto")`` and ``traceml run``, as its quickstart says. Its ``trace_step`` is
around all that is done between two fetches, evaluations and checkpoints too: its guide counts these as
residual time. Around the step alone, as in its quickstart, it would not see them.
"""

import argparse
import contextlib
import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from diagnosis_cases import BATCH, CASES, EPOCH_LENGTH, EPOCHS, Case, parts_of
from figures import spread
from handlers import EvaluateEachEpoch, FetchComputeTimer
from ignite_pipeline.run import Parser, Run, launch
from ignite_pipeline.steps import supervised_step
from overhead import NOBODY, EmptyStep

BESIDE = ("memory creeps", "garbage collection")  # need not be the first thing said
LEAST_SHARE = 10  # in percent: every delay takes more
RESIDUAL = "RESIDUAL-HEAVY"  # "logging, checkpointing, validation, or unobserved transfers", its advice says
NOTHING_SLOW = ("compute-bound", "balanced")
MEANT = {
    "data-bound": ("INPUT-BOUND",),
    "compute-bound": ("COMPUTE-BOUND", "NO CLEAR PERFORMANCE BOTTLENECK"),
    "transfer-bound": ("H2D-BOUND", RESIDUAL),  # it times transfers to CUDA alone
    "handler-bound": (RESIDUAL,),
    "evaluation-bound": (RESIDUAL,),
    "checkpoint-bound": (RESIDUAL,),
    "memory creeps": ("MEMORY CREEP", "MEMORY RISING", "HIGH PROCESS RSS"),
    "garbage collection": (RESIDUAL,),
}


def ours(case: Case, folder: Path) -> None:
    """Train by a recipe."""
    slow, samples, model, optimizer = parts_of(case)

    def recipe(run: Run) -> None:
        loader = run.train_loader(samples, batch_size=BATCH, collate_fn=slow.collate)
        trainer = Engine(supervised_step(model, optimizer, slow.loss, compute=run.compute))
        trainer.add_event_handler(Events.ITERATION_COMPLETED, slow.log)
        trainer.add_event_handler(Events.ITERATION_COMPLETED(every=50), slow.draw)
        evaluate = EvaluateEachEpoch(Engine(slow.evaluate), [0])
        run.attach(trainer, evaluate=[evaluate], save={"model": model, "optimizer": optimizer})
        run.train(trainer, loader, epochs=EPOCHS)

    options = ["--output", f"{folder}/run", "--num-workers", str(case.workers), "--device", "cpu"]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        launch(recipe, Parser(), [*options, "--visdom", NOBODY], task="diagnosis")


def traceml(case: Case, folder: Path) -> None:
    """Train by a plain loop under TraceML."""
    import traceml_ai

    traceml_ai.init(mode="auto")
    slow, samples, model, optimizer = parts_of(case)
    loader: DataLoader[Any] = DataLoader(
        samples,
        BATCH,
        shuffle=True,
        collate_fn=slow.collate,
        num_workers=case.workers,
        persistent_workers=case.workers > 0,
    )
    for epoch in range(EPOCHS):
        for number, (x, y) in enumerate(loader, epoch * EPOCH_LENGTH + 1):
            with traceml_ai.trace_step(model):
                optimizer.zero_grad(set_to_none=True)
                slow.loss(model(x.to("cpu")), y).backward()
                optimizer.step()
                slow.log()
                if number % 50 == 0:
                    slow.draw()
                if number % EPOCH_LENGTH == 0:
                    slow.evaluate()
                    torch.save(model.state_dict(), folder / "checkpoint.pt")


def said_by_ours(folder: Path) -> list[str]:
    """Return what was found, the verdict first."""
    timing = json.loads((folder / "run" / "summary.json").read_text())["timing"]
    return [finding["words"] for finding in timing["findings"]]


def said_by_traceml(folder: Path) -> list[str]:
    """Return the verdict, and what its other sections say unless that is nothing."""
    summary = json.loads((folder / "run" / "final_summary.json").read_text())
    primary = summary["primary_diagnosis"]
    others = [summary[section]["diagnosis"]["status"] for section in ("process", "system", "step_memory")]
    others = [status for status in others if status not in ("NORMAL", "BALANCED", "NO GPU")]
    return [f"{primary['status']}: {primary['summary']}", *others]


def judged(case: Case, said: list[str], kinds: tuple[str, ...]) -> str:
    """Return whether the kind is right, and the culprit named with a share worth it: the table's rule."""
    looked_at = said if case.kind in BESIDE else said[:1]
    right = [words for words in looked_at if words.startswith(kinds)]
    if not right:
        return "no"
    share = re.search(r", (\d+) %", right[0])
    is_named = case.culprit in right[0] and (share is None or int(share[1]) >= LEAST_SHARE)
    return "yes" if is_named else "kind"


def microseconds(contender: str, iterations: int) -> float:
    """Time an iteration of a loop that trains six numbers."""
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, fused=True)
    x, timed = torch.ones(1, 2), EmptyStep(iterations)
    numbers: Any = range(iterations)  # a sequence is all that a loader needs; torch's stubs want a Dataset
    loader: DataLoader[int] = DataLoader(numbers, batch_size=None)

    def step(engine: Engine | None, batch: int) -> None:
        timed(engine, batch)
        optimizer.zero_grad(set_to_none=True)
        model(x).sum().backward()
        optimizer.step()

    if contender == "traceml":
        import traceml_ai

        traceml_ai.init(mode="auto")
        for batch in loader:
            with traceml_ai.trace_step(model):
                step(None, batch)
    elif contender == "plain":
        for batch in loader:
            step(None, batch)
    else:
        trainer = Engine(step)
        if contender != "ignite":
            FetchComputeTimer(names=contender == "names").attach(trainer)
        trainer.run(loader, max_epochs=1)
    return timed.microseconds()


def in_child(contender: str, folder: str, *what: str) -> None:
    """Run this script for one contender, under its own launcher if it has one."""
    arguments = ["--contender", contender, "--folder", folder, *what]
    command = [sys.executable, __file__, *arguments]
    if contender == "traceml":
        launcher = str(Path(sys.executable).with_name("traceml"))
        command = [launcher, "run", __file__, "--logs-dir", folder, "--run-name", "run", "--args", *arguments]
    # Two threads may spin, waiting for each other: that is not planted.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for _ in range(5):  # on a busy machine, TraceML's server may not be there in time
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        if not done.returncode:
            return
        shutil.rmtree(Path(folder) / "run", ignore_errors=True)
    raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")


def tell_verdicts(names: list[str], peer: str | None) -> None:
    """Print what is said of each case."""
    print(f"{EPOCHS * EPOCH_LENGTH} iterations of 6 ms each, and what is planted\n")
    told = [("ours", "ours", said_by_ours)] + ([(peer, "traceml", said_by_traceml)] if peer else [])
    heads = [f"{title} says | right" for title, *_ in told]
    print(f"| case | planted | {' | '.join(heads)} |\n|---|---|{'---|---|' * len(told)}")
    right = dict.fromkeys((title for title, *_ in told), 0)
    for name in tqdm(names, leave=False):
        case = CASES[name]
        cells = [name, f"{case.kind}: {case.culprit}".removesuffix(": ")]
        for title, contender, said_by in told:
            with tempfile.TemporaryDirectory() as folder:
                in_child(contender, folder, "--case", name)
                said = said_by(Path(folder))
            of_ours = (case.kind,) if case.culprit or case.kind not in NOTHING_SLOW else NOTHING_SLOW
            kinds = of_ours if contender == "ours" else MEANT[case.kind]
            cells += ["; ".join(said), judged(case, said, kinds)]
            right[title] += cells[-1] == "yes"
        print(f"| {' | '.join(cells)} |", flush=True)
    counts = ", ".join(f"{title} {count}" for title, count in right.items())
    print(f"\nthe kind is right and the culprit, if there is one, named, of {len(names)}: {counts}\n")


def tell_costs(rounds: int, iterations: int, peer: str | None) -> None:
    """Print what each adds to an iteration of the same loop."""
    told = [
        ("a plain loop", "plain", ""),
        ("Ignite, bare", "ignite", ""),
        ("ours, the timer alone", "timer", "ignite"),
        ("ours, the timer, with names", "names", "ignite"),
        *([(f"{peer}, trace_step", "traceml", "plain")] if peer else []),
    ]
    times: dict[str, list[float]] = {contender: [] for _, contender, _ in told}
    for _ in tqdm(range(rounds), leave=False):
        for contender in times:
            with tempfile.TemporaryDirectory() as folder:
                in_child(contender, folder, "--iterations", str(iterations))
                times[contender].append(float((Path(folder) / "microseconds").read_text()))
    print(f"{rounds} runs of {iterations:,} iterations each, in turn; median (min to max)\n")
    print("| | µs an iteration | µs over its bare loop, in pairs |\n|---|---|---|")
    for title, contender, base in told:
        over = [a - b for a, b in zip(times[contender], times[base], strict=True)] if base else []
        print(f"| {title} | {spread(times[contender], '.1f')} | {spread(over, '.1f') if over else '–'} |")


def main() -> None:
    """Print both tables; as a child, run one contender once."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=CASES, metavar="CASE")
    parser.add_argument("--rounds", type=int, default=7, help="runs of each, for the costs")
    parser.add_argument("--iterations", type=int, default=20_000, help="per run, for the costs")
    for name in ("--contender", "--folder", "--case"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        {"ours": ours, "traceml": traceml}[options.contender](CASES[options.case], Path(options.folder))
        return
    if options.contender:
        found = microseconds(options.contender, options.iterations)
        (Path(options.folder) / "microseconds").write_text(str(found))
        return
    peer = None
    try:
        peer = f"TraceML {version('traceml-ai')}"
    except PackageNotFoundError:
        print("traceml-ai is not installed, so it is not measured: pip install '.[bench]'\n")
    print(f"Python {platform.python_version()}, torch {torch.__version__}, {platform.machine()}\n")
    if options.cases:
        tell_verdicts(options.cases, peer)
    if options.rounds:
        tell_costs(options.rounds, options.iterations, peer)


if __name__ == "__main__":
    main()
