"""Real runs that are attacked at random: each attack is drawn from a seed of its own, and can be repeated.

``python -m tests.attacks FOLDER`` tries a cheap one of each kind; with ``--seconds 600`` as many as it can,
and with ``--seed 1234`` that one. ``FOLDER/stories.txt`` tells what was done.
"""

import argparse
import json
import os
import random
import select
import shutil
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

# For all legs that are forked: what takes seconds to import.
import matplotlib.figure  # noqa: E402, F401
import torchvision.utils  # noqa: E402, F401

import profile_data  # noqa: E402, F401
from handlers import record  # noqa: E402
from ignite_pipeline.predict import translate  # noqa: E402, F401
from tests.attacks.kinds import cheap_seeds, plan  # noqa: E402
from tests.attacks.legs import Broken, Skipped  # noqa: E402
from tests.attacks.life import Life  # noqa: E402
from tests.attacks.subjects import RECIPE, prepare, subjects  # noqa: E402
from tests.support.drawn import write_pairs, write_tree  # noqa: E402

LANES = 2  # attacks at the same time


def attack(seed: int, stock: Path, folder: Path) -> dict[str, Any]:
    """Try one attack; return what became of it."""
    rng = random.Random(seed)
    kinds, subject = plan(rng)
    life = Life(subjects(stock)[subject], folder, rng)
    folder.mkdir()
    began, answer = time.monotonic(), {"seed": seed, "kind": kinds[0].__name__, "subject": subject}
    try:
        for kind in kinds:
            life.tell(f"- {kind.__name__}")
            kind(life)
        answer |= {"result": "held"}
    except Broken as broken:
        answer |= {"result": "broke", "expected": broken.args[0], "came": broken.args[1]}
    except Skipped as skipped:
        answer |= {"result": "skipped", "came": str(skipped)}
    except Exception:
        answer |= {"result": "broke", "expected": "an attack", "came": traceback.format_exc()}
    finally:
        life.close()
    if answer["result"] != "broke":
        shutil.rmtree(folder, ignore_errors=True)
    return {**answer, "told": life.told, "s": time.monotonic() - began}


def in_lanes(seeds: Iterator[int], stock: Path, until: float) -> Iterator[dict[str, Any]]:
    """Try attacks, several at a time, in processes that begin with all that is imported here."""
    lanes: list[TextIO] = []
    while True:
        while len(lanes) < LANES and time.monotonic() < until and (seed := next(seeds, None)) is not None:
            lanes.append(_lane(seed, stock))
        if not lanes:
            return
        for lane in select.select(lanes, [], [])[0]:
            yield json.loads(lane.readline())
            lane.close()
            lanes.remove(lane)
            os.wait()


def _lane(seed: int, stock: Path) -> TextIO:
    reader, writer = os.pipe()
    if os.fork() == 0:
        answer = attack(seed, stock, stock.parent / f"attack_{seed}")
        with suppress(BrokenPipeError), os.fdopen(writer, "w") as file:
            file.write(json.dumps(answer) + "\n")
        os._exit(0)
    os.close(writer)
    return os.fdopen(reader)


def story(answer: dict[str, Any]) -> str:
    """Return what was done to a run, and what became of it, in lines."""
    title = f"seed {answer['seed']}, {answer['kind']} on {answer['subject']}: {answer['result']}"
    came = [f"{name}: {answer[name]}" for name in ("expected", "came") if name in answer]
    return "\n".join(["", f"{title} after {answer['s']:.0f} s", *answer["told"], *came, ""])


def table(answers: Sequence[dict[str, Any]]) -> str:
    """Return how many attacks of each kind were tried, and how many held."""
    counts = Counter((kind, answer["result"]) for answer in answers for kind in (answer["kind"], "all"))
    rows = [f"{'attack':24}{'tried':>7}{'held':>7}{'broke':>7}{'skipped':>9}"]
    for kind in [*sorted({answer["kind"] for answer in answers}), "all"]:
        held, broke, skipped = (counts[kind, result] for result in ("held", "broke", "skipped"))
        rows.append(f"{kind:24}{held + broke:7}{held:7}{broke:7}{skipped:9}")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--seed", type=int)
    options = parser.parse_args()
    stock = options.folder / "stock"
    stock.mkdir(parents=True)
    write_tree(stock / "images", {"train": 8, "val": 4})
    write_pairs(stock / "pairs", {"train": 3, "val": 1}, side=40)
    (stock / "own_recipe.py").write_text(RECIPE)

    if options.seconds is not None:
        first = options.seed if options.seed is not None else 1000 * os.getpid()
        seeds, wanted = iter(range(first, sys.maxsize)), set(subjects(stock))
    else:
        given = [options.seed] if options.seed is not None else cheap_seeds()
        seeds, wanted = iter(given), {plan(random.Random(seed))[1] for seed in given}
    if options.seconds is None and options.seed is None:
        record.plot_report = lambda directory: None  # which takes as long as all the rest
    for name in sorted(wanted):
        prepare(subjects(stock)[name])

    answers = []
    for answer in in_lanes(seeds, stock, time.monotonic() + (options.seconds or float("inf"))):
        answers.append(answer)
        with open(options.folder / "stories.txt", "a") as file:
            file.write(story(answer))
        if answer["result"] != "held":
            print(story(answer), flush=True)
    print(f"\n{table(answers)}", flush=True)
    sys.exit(any(answer["result"] == "broke" for answer in answers))


if __name__ == "__main__":
    main()
