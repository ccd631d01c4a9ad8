"""The learning rate range test, on a recipe's own trainer, with its curve drawn."""

import warnings
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from ignite.engine import Engine
from ignite.handlers import FastaiLRFinder
from torch.optim import Optimizer

from handlers.files import write_whole
from handlers.states import Stateful

START_LR, END_LR, ITERATIONS = 1e-6, 1.0, 100


def search_learning_rate(
    trainer: Engine, loader: Iterable[Any], *, optimizer: Optimizer, save: Mapping[str, Stateful], path: Path
) -> float | None:
    """Train on with rates that rise from 1e-6 to 1, draw the losses to ``path``, and put everything back.

    Returns the rate at which the smoothed loss falls fastest (Smith, "Cyclical learning rates for training
    neural networks", WACV 2017; Ignite's ``FastaiLRFinder``), or None if it does not fall. Parameter groups
    keep the proportions of their rates, and the largest is the one that is told. ``save`` names all that the
    step changes. It takes 100 iterations, or ends when the loss is five times its least.
    """
    rates = [group["lr"] for group in optimizer.param_groups]
    shares = [rate / max(rates) for rate in rates]
    finder = FastaiLRFinder()
    searching = finder.attach(
        trainer,
        {**save, "optimizer": optimizer},
        output_transform=lambda output: output["loss"],
        num_iter=ITERATIONS,
        start_lr=[START_LR * share for share in shares],
        end_lr=[END_LR * share for share in shares],
    )
    with searching as engine, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Run completed without loss diverging")
        engine.run(loader)
    found = finder.get_results()
    rates = [max(rate) if isinstance(rate, list) else rate for rate in found["lr"]]
    suggested = None
    with suppress(RuntimeError):  # the losses do not fall
        suggestion = finder.lr_suggestion()
        suggested = max(suggestion) if isinstance(suggestion, list) else suggestion
    _draw(rates, found["loss"], suggested, path)
    return suggested


def _draw(rates: list[float], losses: list[float], suggested: float | None, path: Path) -> None:
    from matplotlib.figure import Figure  # half a second to import

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(rates, losses)
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss, smoothed", title="Learning rate range test")
    axes.set_ylim(min(losses) * 0.9, min(max(losses), 3 * losses[0]))
    axes.grid(alpha=0.3)
    if suggested is not None:
        axes.axvline(suggested, color="tab:red", linestyle="--", label=f"{suggested:.2g}: falls fastest")
        axes.legend()
    write_whole(path, partial(figure.savefig, format="png", dpi=100))
