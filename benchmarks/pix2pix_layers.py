"""Where the time of a pix2pix iteration goes, by layer: as torch computes it by default, and as ours does.

python benchmarks/pix2pix_layers.py        # make bench

Each layer runs alone, forward and backward, on an input of the size that it gets in the step. The
discriminator is called three times in a step, and so counts three times. That is a little more than the step
does: it takes no gradient of the source images, nor, the third time, of the discriminator's weights.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from figures import spread
from ignite_pipeline.machine import keep_freed_memory
from ignite_pipeline.models.pix2pix import PatchDiscriminator, UNetGenerator
from pix2pix_step import PLAIN

CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)
Layer = tuple[str, nn.Module, Tensor, int]


def layers_of(batch_size: int, image_size: int) -> list[Layer]:
    """Return the name of each layer, the module, its input, and how often a step calls it."""
    generator, discriminator = UNetGenerator(image_size=image_size), PatchDiscriminator(6)
    found: list[Layer] = []
    for network, channels, calls in ((generator, 3, 1), (discriminator, 6, 3)):
        called = list[tuple[nn.Module, Tensor]]()
        hooks = [
            module.register_forward_pre_hook(
                lambda module, args, to=called: to.append((module, args[0].detach()))
            )
            for module in network.modules()
            if not list(module.children())
        ]
        network(torch.randn(batch_size, channels, image_size, image_size))
        for hook in hooks:
            hook.remove()
        name = "G" if calls == 1 else "D"
        found += [(f"{name} {described(module, x)}", module, x, calls) for module, x in called]
    for _, module, _, _ in found:
        if isinstance(module, nn.ReLU | nn.LeakyReLU):  # in place is not allowed on what asks for a gradient
            module.inplace = False
    return found


def described(module: nn.Module, x: Tensor) -> str:
    """Return what a layer is called in the table: convolutions one by one, all others by their kind."""
    if not isinstance(module, CONVOLUTIONS):
        return type(module).__name__
    kind = "up" if isinstance(module, nn.ConvTranspose2d) else "down" if module.stride[0] > 1 else "level"
    return f"{kind} {x.shape[2]}×{x.shape[3]}, {module.in_channels} to {module.out_channels}"


def default_twin(module: nn.Module, x: Tensor) -> tuple[nn.Module, Tensor]:
    """Return the layer as torch has it, and its input as torch lays it out."""
    twin = copy.deepcopy(module)
    twin.__class__ = PLAIN.get(type(module), type(module))
    return twin, x.contiguous()


def both_ways(module: nn.Module, x: Tensor) -> Callable[[], float]:
    """Return what runs a layer forward and backward, and returns the seconds."""
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    gradient = torch.randn_like(module(x))
    wanted = [x, *module.parameters()]

    def run() -> float:
        start = time.perf_counter()
        torch.autograd.grad(module(x), wanted, gradient)
        return time.perf_counter() - start

    return run


def rows(batch_size: int, options: argparse.Namespace) -> Iterator[tuple[str, list[float], list[float]]]:
    """Yield each kind of layer with the milliseconds of a step, in rounds: torch's default, and ours."""
    sums: dict[str, tuple[list[float], list[float]]] = {}
    found = layers_of(batch_size, options.image_size)
    for name, module, x, calls in tqdm(found, desc=f"layers, batch {batch_size}", leave=False):
        pair = both_ways(*default_twin(module, x)), both_ways(module, x)
        totals = sums.setdefault(name, ([0.0] * options.rounds, [0.0] * options.rounds))
        for run in pair:
            run()
        for each in range(options.rounds):
            for total, run in zip(totals, pair, strict=True):
                total[each] += 1000 * calls * run()
    for name, (default, ours) in sums.items():
        yield name, default, ours


def main() -> None:
    """Print the table of each batch size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image-size", type=int, default=256, help="side in pixels (default: %(default)s)")
    parser.add_argument(
        "--batch-size", type=int, nargs="+", default=[1, 4], help="pairs in a step (default: 1 and 4)"
    )
    parser.add_argument("--rounds", type=int, default=7, help="of each layer (default: %(default)s)")
    options = parser.parse_args()
    keep_freed_memory()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {options.image_size} pixels, fp32;")
    print(f"forward and backward, {options.rounds} rounds in turn; median (min to max)")
    for batch_size in options.batch_size:
        print(f"\n| batch {batch_size} | torch's default, ms | ours, ms | speed-up, in pairs |")
        print("|---|---|---|---|")
        table = list(rows(batch_size, options))
        all_default, all_ours = (np.sum([row[side] for row in table], 0).tolist() for side in (1, 2))
        table.append(("all", all_default, all_ours))
        for name, default, ours in sorted(table, key=lambda row: -statistics.median(row[1])):
            ratios = [a / b for a, b in zip(default, ours, strict=True)]
            print(f"| {name} | {spread(default, '.1f')} | {spread(ours, '.1f')} | {spread(ratios, '.2f')} |")


if __name__ == "__main__":
    main()
