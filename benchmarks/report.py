"""Run every benchmark and write what they print to BENCHMARKS.md.

make bench
"""

import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
BENCHMARKS = {
    "Overhead an iteration": "overhead.py",
    "Feeding images": "feeding.py",
    "A step of pix2pix": "pix2pix_step.py",
    "Larger sets": "scaling.py",
    "Saving": "checkpoint_stall.py",
    "Starting": "startup.py",
    "A live board": "visdom_board.py",
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
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "torchvision", "pytorch-ignite"))
    path = HERE.parent / "BENCHMARKS.md"
    path.write_text(
        f"# Benchmarks\n\nWritten by `make bench` on {time.strftime('%Y-%m-%d')}: {processor()},"
        f" {os.cpu_count()} cores, Python {platform.python_version()}, {packages}. Medians (least to largest)"
        " of runs in turn; ratios are of pairs.\n"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, (HERE.parent / "scripts", HERE.parent / "tests"))),
    }
    for title, name in BENCHMARKS.items():
        print(f"{title} ({name}) ...", flush=True)
        start = time.perf_counter()
        command = [sys.executable, str(HERE / name)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=False)
        seconds = time.perf_counter() - start
        section = f"\n## {title}\n\n`python benchmarks/{name}`, {seconds:.0f} s\n\n{done.stdout.strip()}\n"
        if done.returncode:
            section += f"\n(it ended with status {done.returncode})\n"
        with open(path, "a") as file:
            file.write(section)


if __name__ == "__main__":
    main()
