"""Run an engine to an iteration, in the middle of an epoch or at its end."""

from ignite.engine import Engine, Events

from handlers.attached import put_first
from ignite_pipeline.data.loading import EndlessLoader


def run_until(iteration: int, trainer: Engine, loader: EndlessLoader) -> None:
    """Run ``trainer`` from where it is to the end of that iteration.

    Its state has both ``max_epochs``, which Ignite's profilers and progress bar ask for, and ``max_iters``.
    """
    length = len(loader)
    epochs = -(-iteration // length)

    def end_there(engine: Engine) -> None:
        engine.state.max_iters = iteration if iteration % length else None

    trainer.state.max_iters = None
    if trainer.state.iteration:
        trainer.state.max_epochs = epochs
    with trainer.add_event_handler(Events.STARTED, end_there):
        put_first(trainer, Events.STARTED)
        trainer.run(loader, max_epochs=epochs, epoch_length=length)
