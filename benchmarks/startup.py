"""How long until training begins, over importing torch and torchvision; and how epochs grow with the data.

python benchmarks/startup.py             # make bench
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tqdm import tqdm

from figures import spread

SCRIPT = Path(__file__).parent.parent / "scripts" / "run_cifar2.py"


def importing() -> float:
    """Return the seconds of a process that imports what everybody imports."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import torch, torchvision"], check=True)
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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--data-root", help="a folder tree of images too")
    options = parser.parse_args()
    starts = {"drawn images": ["--dataset", "generated", "--max-iterations", "1"]}
    if options.data_root:
        starts["images in files"] = ["--data-root", options.data_root, "--max-iterations", "1"]
    times: dict[str, list[float]] = {"import torch, torchvision": [], **{name: [] for name in starts}}
    for _ in tqdm(range(options.rounds), desc="rounds", leave=False):
        times["import torch, torchvision"].append(importing())
        for name, given in starts.items():
            times[name].append(until_training(*given))
    base = times["import torch, torchvision"]
    print("| until training begins | s | over importing, in pairs |\n|---|---|---|")
    for name, seconds in times.items():
        over = [ours - theirs for ours, theirs in zip(seconds, base, strict=True)]
        print(f"| {name} | {spread(seconds, '.2f')} | {spread(over, '.2f')} |")


if __name__ == "__main__":
    main()
