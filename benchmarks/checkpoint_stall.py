"""How long saving holds the training loop up: pix2pix's networks with Adam, at once and in the background.

python benchmarks/checkpoint_stall.py    # make bench
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from ignite.engine import Engine
from ignite.handlers import Checkpoint, DiskSaver
from tqdm import tqdm

from figures import spread
from handlers import Checkpoints
from ignite_pipeline.machine import keep_freed_memory
from ignite_pipeline.models.pix2pix import PatchDiscriminator, UNetGenerator


def trained() -> dict[str, torch.nn.Module | torch.optim.Optimizer]:
    """Return the networks and optimizers that have made a step."""
    networks = {"generator": UNetGenerator(image_size=256), "discriminator": PatchDiscriminator(6)}
    objects: dict[str, torch.nn.Module | torch.optim.Optimizer] = dict(networks)
    for name, network in networks.items():
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-4, fused=True)
        for parameter in network.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        optimizer.zero_grad()
        objects[f"optimizer_{name}"] = optimizer
    return objects


def main() -> None:
    """Save in turn with each; print how long the loop was held up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    keep_freed_memory()
    objects = trained()
    networks = [thing for thing in objects.values() if isinstance(thing, torch.nn.Module)]
    count = sum(parameter.numel() for network in networks for parameter in network.parameters())
    engine = Engine(lambda engine, batch: None)
    engine.state.epoch_length = engine.state.max_epochs = 1
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        at_once = Checkpoints(root / "at once", objects)
        behind = Checkpoints(root / "background", objects, background=True)
        ignites = Checkpoint(objects, DiskSaver(str(root / "ignite")), n_saved=2)

        def plainly() -> None:
            content = {name: thing.state_dict() for name, thing in objects.items()}
            with open(root / "plain.pt", "wb") as file:
                torch.save(content, file)
                file.flush()
                os.fsync(file.fileno())

        savers: dict[str, Callable[[], object]] = {
            "ours, at once": lambda: at_once.save(engine),
            "ours, in the background": lambda: behind.save(engine),
            "torch.save and fsync": plainly,
            "Ignite's Checkpoint (no fsync, not read back)": lambda: ignites(engine),
        }
        times: dict[str, list[float]] = {name: [] for name in savers}
        for number in tqdm(range(options.rounds + 1), desc="rounds", leave=False):
            engine.state.iteration = number
            for name, save in savers.items():
                start = time.perf_counter()
                save()
                held_s = time.perf_counter() - start
                behind.wait()
                if number:  # the first finds nothing warm
                    times[name].append(held_s)
    print(f"{count / 1e6:.0f} M parameters with Adam\n")
    print("| | the loop is held up, s | share of saving at once, in pairs |\n|---|---|---|")
    for name, held in times.items():
        shares = [ours / base for ours, base in zip(held, times["ours, at once"], strict=True)]
        print(f"| {name} | {spread(held, '.2f')} | {spread(shares, '.1%')} |")


if __name__ == "__main__":
    main()
