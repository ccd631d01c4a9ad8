"""Run every benchmark and write what they print to BENCHMARKS.md.

make bench
python benchmarks/report.py feeding.py   # these alone; the other sections stay
python benchmarks/report.py "end_to_end.py --models conv"   # one section of several
"""

import argparse
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
BENCHMARKS = {
    "A training, end to end: the book's net": "end_to_end.py --models conv",
    "A training, end to end: the default net": "end_to_end.py --models resnet",
    "Overhead an iteration": "overhead.py",
    "What is said of a slow loop": "diagnosis.py",
    "Feeding images": "feeding.py",
    "Images from files": "image_files.py",
    "Looking at images": "looking.py",
    "Time to accuracy": "time_to_accuracy.py",
    "What the default recipe owes to what": "ablations.py",
    "Fine-tuning": "finetuning.py",
    "A step of pix2pix": "pix2pix_step.py",
    "A step of pix2pix, by layer": "pix2pix_layers.py",
    "Several processes": "processes.py",
    "Larger sets": "scaling.py",
    "The order of an epoch": "order.py",
    "Saving": "checkpoint_stall.py",
    "Starting": "startup.py",
    "A live board": "visdom_board.py",
    "Comparing runs": "comparing_runs.py",
    "What survives what": "survival.py",
}


def processor() -> str:
    """Return the processor's name, where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def main() -> None:
    """Run them one after the other; each section is written as soon as it is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [*dict.fromkeys(command.split()[0] for command in BENCHMARKS.values())]
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"benchmarks to run (default: all, {' '.join(names)})"
    )
    wanted = parser.parse_args().names or names
    if unknown := set(wanted) - {*names, *BENCHMARKS.values()}:
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(names)}")

    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "torchvision", "pytorch-ignite"))
    head = (
        f"# Benchmarks\n\nWritten by `make bench`, Python {platform.python_version()}, {packages}. Medians"
        " (least to largest) of runs in turn, unless said otherwise; ratios are of pairs.\n"
    )
    path = HERE.parent / "BENCHMARKS.md"
    parts = path.read_text().split("\n## ")[1:] if path.exists() else []
    sections = {part.split("\n")[0]: part.strip() for part in parts}
    for title, command in BENCHMARKS.items():
        if command in wanted or command.split()[0] in wanted:
            print(f"{title} ({command}) ...", flush=True)
            sections[title] = section(title, command)
            text = [head, *(f"## {sections[it]}\n" for it in BENCHMARKS if it in sections)]
            path.write_text("\n".join(text))


def section(title: str, command: str) -> str:
    """Run a benchmark; return its section."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, (HERE.parent / "scripts", HERE.parent))),
    }
    start = time.perf_counter()
    script, *options = command.split()
    words = [sys.executable, str(HERE / script), *options]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, env=environment, check=False)
    took = f"{time.strftime('%Y-%m-%d')}, {time.perf_counter() - start:.0f} s"
    machine = f"{processor()}, {os.cpu_count()} cores"
    status = f"\n\n(it ended with status {done.returncode})" if done.returncode else ""
    return f"{title}\n\n`python benchmarks/{command}`, {took}, {machine}\n\n{done.stdout.strip()}{status}"


if __name__ == "__main__":
    main()
