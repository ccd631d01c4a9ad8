"""What looking at a folder costs, beside decoding its images and nothing else.

python benchmarks/looking.py             # 2,000 JPEG files of 500 x 375, 5 rounds
python benchmarks/looking.py --images 10000 --source DIR

Both read the same files with as many threads as there are cores, in turn. ``look`` is all that
``python -m ignite_pipeline.look`` finds out: facts, digests, hashes and copies; not its picture, the time of
which does not grow with the images. The files are crops of those in ``--source``, or of drawn façades, with
noise like a camera's, so that they take as long to decode as photographs. Beside it, the time that the search
for copies takes for as many random thumbnails as ``--thumbnails`` says.
"""

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from ignite_pipeline.data.generated_facades import draw_facades
from ignite_pipeline.look.found_files import FoundFiles, find_files
from ignite_pipeline.look.same_images import exact_groups, near_groups
from ignite_pipeline.look.survey import Facts, Survey, survey
from ignite_pipeline.machine import available_cores

WIDTH, HEIGHT, NOISE, QUALITY = 500, 375, 4.0, 90
CHUNK = 64


def sources(folder: str | None) -> list[Image.Image]:
    """Return 128 images to cut from: real ones, or drawn façades."""
    if folder is not None:
        files = find_files(folder)
        chosen = files.names[:: max(1, len(files) // 128)][:128]
        return [Image.open(files.root / name).convert("RGB") for name in chosen]
    photos, _ = draw_facades(128, seed=0, side=256)
    return [Image.fromarray(photo.permute(1, 2, 0).numpy()) for photo in photos]


def write_images(folder: Path, count: int, originals: Sequence[Image.Image]) -> None:
    """Write JPEG files with crops of the originals, each with its own noise."""
    generator = np.random.default_rng(0)
    for number in range(count):
        original = originals[number % len(originals)]
        left, top = (int(generator.integers(0, side // 4)) for side in original.size)
        box = (left, top, left + original.width * 3 // 4, top + original.height * 3 // 4)
        pixels = np.asarray(original.crop(box).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), np.float32)
        pixels = (pixels + generator.normal(0, NOISE, pixels.shape)).clip(0, 255)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number:06}.jpg", quality=QUALITY)


def decode(files: FoundFiles) -> None:
    """Decode every image to RGB, and do no more."""

    def of_chunk(start: int) -> None:
        for name in files.names[start : start + CHUNK]:
            with Image.open(files.root / name) as image:
                image.convert("RGB")

    with ThreadPoolExecutor(available_cores()) as pool:
        list(pool.map(of_chunk, range(0, len(files), CHUNK)))


def look(files: FoundFiles) -> None:
    """Find out all there is to know."""
    seen = survey(files)
    near_groups(seen, exact_groups(seen))


def seconds(function: Callable[[FoundFiles], None], files: FoundFiles) -> tuple[float, float]:
    """Return how long a call takes: by the clock, and of processors."""
    start, start_cpu = time.perf_counter(), time.process_time()
    function(files)
    return time.perf_counter() - start, time.process_time() - start_cpu


def search_s(count: int) -> float:
    """Return how long the search for copies takes among thumbnails of smooth noise, as photographs are."""
    generator = np.random.default_rng(0)
    small = generator.normal(128, 40, (count, 8, 8)).clip(0, 255)
    thumbnails = np.repeat(np.repeat(small, 4, 1), 4, 2).astype(np.uint8)
    names = [str(number) for number in range(count)]
    files = FoundFiles(Path(), names, [""] * count, [""] * count)
    one = Facts("JPEG", "RGB", WIDTH, HEIGHT, False, False, False, False, b"", b"")
    seen = Survey(files, dict.fromkeys(range(count), one), {}, thumbnails, (), ())
    start = time.perf_counter()
    near_groups(seen, [])
    return time.perf_counter() - start


def peak_mb() -> float:
    """Return the most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def main(argv: Sequence[str] | None = None) -> None:
    """Measure as the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--source", metavar="DIR")
    parser.add_argument("--thumbnails", type=int, nargs="*", default=[10_000, 100_000])
    options = parser.parse_args(argv)
    imported_mb = peak_mb()
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder), options.images, sources(options.source))
        files = find_files(folder)
        kilobytes = sum((files.root / name).stat().st_size for name in files.names) / len(files) / 1000
        decode(files)  # the first reading comes from the disk
        pairs = [(seconds(decode, files), seconds(look, files)) for _ in range(options.rounds)]
    print(
        f"{len(files):,} JPEG files of {WIDTH} x {HEIGHT}, {kilobytes:.0f} kB each, {available_cores()} cores"
    )
    for number, name in enumerate(("decoding alone", "looking")):
        rates = sorted(len(files) / pair[number][0] for pair in pairs)
        print(f"{name:15} {statistics.median(rates):6,.0f} images/s ({rates[0]:,.0f} to {rates[-1]:,.0f})")
    for number, name in enumerate(("speed", "processor time")):
        shares = sorted(decoding[number] / looking[number] for decoding, looking in pairs)
        share = f"{statistics.median(shares):6.2f} of decoding ({shares[0]:.2f} to {shares[-1]:.2f})"
        print(f"{name:15} {share}{', as a rate' * number}")
    print(f"{'memory':15} {peak_mb():6,.0f} MB at most, {imported_mb:,.0f} MB before the first image")
    for count in options.thumbnails:
        print(f"{count:,} thumbnails compared in {search_s(count):.1f} s")


if __name__ == "__main__":
    main()
