"""How long until training begins, beside what anybody pays who takes torch, Ignite and an optimizer.

python benchmarks/startup.py             # make bench

To make the first optimizer imports torch's compiler; to import Ignite, parts of torch that need SymPy.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tqdm import tqdm

from figures import spread

SCRIPT = Path(__file__).parent.parent / "scripts" / "run_cifar2.py"
TORCH = "import torch"
IGNITE = f"{TORCH}, ignite.engine; torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)"
PILLOW = f"""{IGNITE}
import sys
from pathlib import Path
import numpy as np
from PIL import Image
for path in Path(sys.argv[1]).glob("*/*/*"):
    with Image.open(path) as image:
        np.asarray(image.convert("RGB"))
"""
FLOORS = {"import torch": TORCH, "import torch and Ignite, make an optimizer": IGNITE}
DECODING = "the same, and decode the files with Pillow"


def python(code: str, *arguments: str) -> float:
    """Return the seconds of a process that runs some code."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code, *arguments], check=True)
    return time.perf_counter() - start


def until_training(*options: str) -> float:
    """Return the seconds from starting the script to its first checkpoint, which is before the first step."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(SCRIPT), "--output", f"{folder}/run", "--visdom", "off", *options]
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        first = Path(folder) / "run" / "checkpoints" / "checkpoint_00000000.pt"
        while not first.exists() and process.poll() is None:
            time.sleep(0.001)
        seconds = time.perf_counter() - start
        process.wait()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return seconds


def main() -> None:
    """Start each in turn; print the medians and their spread."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="of each (default: %(default)s)")
    parser.add_argument(
        "--data-root",
        default=os.environ.get("IGNITE_PIPELINE_CIFAR2"),
        help="a folder tree of images: without it, only drawn ones",
    )
    options = parser.parse_args()
    one = ["--max-iterations", "1"]
    starts = {"ours, drawn images": ["--dataset", "generated", *one]}
    floors = {name: [code] for name, code in FLOORS.items()}
    if options.data_root:
        floors[DECODING] = [PILLOW, options.data_root]
        starts["ours, images in files"] = ["--data-root", options.data_root, *one]
    times: dict[str, list[float]] = {name: [] for name in (*floors, *starts)}
    for _ in tqdm(range(options.rounds), desc="rounds", leave=False):
        for name, code in floors.items():
            times[name].append(python(*code))
        for name, given in starts.items():
            times[name].append(until_training(*given))
    first = next(iter(times))
    print(f"| until training begins, or the end | s | over {first}, in pairs |\n|---|---|---|")
    for name, seconds in times.items():
        over = [ours - theirs for ours, theirs in zip(seconds, times[first], strict=True)]
        print(f"| {name} | {spread(seconds, '.2f')} | {spread(over, '.2f') if name != first else '–'} |")


if __name__ == "__main__":
    main()
