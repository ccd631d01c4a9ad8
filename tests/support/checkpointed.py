"""Short runs that save themselves, and the names of what they leave."""

import torch
from ignite.engine import Engine, Events

from handlers import Checkpoints, load_newest


def train(directory, model, *, epochs=4, scores=(), **options):
    trainer = Engine(lambda engine, batch: model(torch.randn(5, 3)))
    if scores:
        trainer.add_event_handler(
            Events.EPOCH_COMPLETED,
            lambda: trainer.state.metrics.update(score=scores[trainer.state.epoch - 1]),
        )
        options["score"] = "score"
    checkpoints = Checkpoints(directory, {"model": model}, **options).attach(trainer)
    trainer.run([0] * 5, max_epochs=epochs)
    return checkpoints


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def files(*iterations):
    return [f"checkpoint_{iteration:08d}.pt" for iteration in iterations]


def resume(directory, model, *, epochs):
    trainer = Engine(lambda engine, batch: None)
    checkpoints = Checkpoints(directory, {"model": model}).attach(trainer)
    checkpoints.restore(trainer, load_newest(directory))
    return trainer, lambda: trainer.run([0] * 5, max_epochs=epochs)
