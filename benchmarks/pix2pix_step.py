"""What an iteration of pix2pix takes: the plain reference step, written out, and ours in fp32 and, where
the processor computes in it, in bf16.

python benchmarks/pix2pix_step.py        # make bench
"""

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import cast

import torch
from ignite.engine import Engine
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from figures import spread
from ignite_pipeline.compute import Compute
from ignite_pipeline.devices import resolve_precision
from ignite_pipeline.gan_steps import gan_step
from ignite_pipeline.machine import keep_freed_memory
from ignite_pipeline.models.pix2pix import PatchDiscriminator, UNetGenerator
from ignite_pipeline.models.small_convolutions import SmallConv2d, SmallConvTranspose2d

Pair = tuple[Tensor, Tensor]


class PlainGenerator(UNetGenerator):
    """The generator, computed as torch does it by default."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the translation of ``x``."""
        skips = []
        for down in self.downs:
            x = down(x)
            skips.append(x)
        x = self.ups[0](skips.pop())
        for up in self.ups[1:]:
            x = up(torch.cat([skips.pop(), x], dim=1))
        return x


class PlainDiscriminator(PatchDiscriminator):
    """The discriminator, computed as torch does it by default."""

    def forward(self, x: Tensor) -> Tensor:
        """Return a logit for each patch."""
        return cast(Tensor, self.layers(x))


PLAIN: dict[type[nn.Module], type[nn.Module]] = {
    SmallConv2d: nn.Conv2d,
    SmallConvTranspose2d: nn.ConvTranspose2d,
}


def as_torch_has_it(network: nn.Module) -> nn.Module:
    """Return the network with torch's convolutions."""
    for module in network.modules():
        module.__class__ = PLAIN.get(type(module), type(module))
    return network


def plain_step(image_size: int) -> Callable[[Pair], object]:
    """Return the reference's iteration in a straight line, with torch's defaults."""
    torch.manual_seed(0)
    generator = as_torch_has_it(PlainGenerator(image_size=image_size))
    discriminator = as_torch_has_it(PlainDiscriminator(6))
    optimizer_g, optimizer_d = (
        torch.optim.Adam(model.parameters(), lr=2e-4, betas=(0.5, 0.999))
        for model in (generator, discriminator)
    )

    def step(pair: Pair) -> None:
        source, target = pair
        fake = generator(source)
        discriminator.requires_grad_(True)
        optimizer_d.zero_grad()
        judged_fake = discriminator(torch.cat([source, fake.detach()], 1))
        judged_real = discriminator(torch.cat([source, target], 1))
        loss_fake = F.binary_cross_entropy_with_logits(judged_fake, torch.zeros_like(judged_fake))
        loss_real = F.binary_cross_entropy_with_logits(judged_real, torch.ones_like(judged_real))
        ((loss_fake + loss_real) * 0.5).backward()
        optimizer_d.step()
        discriminator.requires_grad_(False)
        optimizer_g.zero_grad()
        judged = discriminator(torch.cat([source, fake], 1))
        adversarial = F.binary_cross_entropy_with_logits(judged, torch.ones_like(judged))
        (adversarial + 100 * F.l1_loss(fake, target)).backward()
        optimizer_g.step()

    return step


def our_step(image_size: int, precision: str) -> Callable[[Pair], object]:
    """Return the step as scripts/run_pix2pix.py builds it."""
    keep_freed_memory()
    torch.manual_seed(0)
    models = UNetGenerator(image_size=image_size), PatchDiscriminator(6)
    optimizers = [torch.optim.Adam(m.parameters(), lr=2e-4, betas=(0.5, 0.999), fused=True) for m in models]
    step = gan_step(*models, *optimizers, compute=Compute(precision=precision))
    return lambda pair: step(Engine(lambda engine, batch: None), pair)


AUTO = resolve_precision("auto", "cpu")
CONTENDERS: dict[str, Callable[[int], Callable[[Pair], object]]] = {
    "plain reference, fp32": plain_step,
    "ours, fp32": partial(our_step, precision="fp32"),
    **({} if AUTO == "fp32" else {f"ours, --precision auto ({AUTO})": partial(our_step, precision=AUTO)}),
}


def measure(name: str, batch_size: int, options: argparse.Namespace) -> tuple[float, float]:
    """Return a contender's median seconds a step and peak MiB, in a process of its own: it keeps memory."""
    command = [sys.executable, __file__, "--only", name, "--repeats", str(options.repeats)]
    command += ["--image-size", str(options.image_size), "--batch-size", str(batch_size)]
    seconds, peak = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(seconds), float(peak)


def measure_here(name: str, options: argparse.Namespace) -> float:
    """Return the contender's median seconds a step, after three to warm up."""
    shape = (options.batch_size[0], 3, options.image_size, options.image_size)
    pair = torch.rand(shape) * 2 - 1, torch.rand(shape) * 2 - 1
    step = CONTENDERS[name](options.image_size)
    times = []
    for _ in range(3 + options.repeats):
        start = time.perf_counter()
        step(pair)
        times.append(time.perf_counter() - start)
    return statistics.median(times[3:])


def main() -> None:
    """Run the contenders in turn, print their medians and spread, write the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image-size", type=int, default=256, help="side in pixels (default: %(default)s)")
    parser.add_argument(
        "--batch-size", type=int, nargs="+", default=[1, 4], help="pairs in a step (default: 1 and 4)"
    )
    parser.add_argument("--rounds", type=int, default=5, help="of each contender (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=8, help="steps in a round (default: %(default)s)")
    parser.add_argument("--only", help="measure this contender once, in this process")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    if options.only:
        print(measure_here(options.only, options), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return

    print(f"Python {platform.python_version()}, torch {torch.__version__}, {platform.machine()}, ", end="")
    print(f"{torch.get_num_threads()} threads; {options.image_size} pixels;")
    print(f"{options.rounds} rounds of {options.repeats} steps each, in turn; median (min to max);")
    print("MiB are the peak of the process\n")
    figures = {}
    for batch_size in options.batch_size:
        times: dict[str, list[float]] = {name: [] for name in CONTENDERS}
        peaks: dict[str, list[float]] = {name: [] for name in CONTENDERS}
        for _ in tqdm(range(options.rounds), desc=f"rounds, batch {batch_size}", leave=False):
            for name in CONTENDERS:
                seconds, peak_mib = measure(name, batch_size, options)
                times[name].append(seconds)
                peaks[name].append(peak_mib)
        figures[batch_size] = times
        print(
            f"| {f'batch {batch_size}':31} | seconds a step | times the plain step's speed, in pairs | MiB |"
        )
        print("|---|---|---|---|")
        plain = times["plain reference, fp32"]
        for name, ours in times.items():
            ratios = [a / b for a, b in zip(plain, ours, strict=True)]
            relative = spread(ratios, ".3f") if ours is not plain else "–"
            print(f"| {name:31} | {spread(ours, '.3f')} | {relative} | {spread(peaks[name], '.0f')} |")
        print()
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
