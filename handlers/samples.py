"""Images of a model at work, as files."""

import logging
from collections.abc import Callable
from pathlib import Path

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from torch import Tensor

from handlers.files import write_whole

_LOGGER = logging.getLogger(__name__)


class SampleGrids:
    """Write what a model makes of the same images after every ``every_epochs`` epochs, as a PNG grid.

    ``make_columns()`` returns the columns of the grid, each ``(N, C, H, W)`` in [-1, 1]: input, generated and
    real, say; image *i* of each stands in row *i*. It is called under one and the same seed, so that noise
    does not change from epoch to epoch, and the generators are as before when it returns. The files are
    ``epoch_0001.png`` and so on; of several processes, the first writes them. One that cannot be written is
    logged; training goes on.

    >>> import tempfile
    >>> directory = tempfile.TemporaryDirectory()
    >>> trainer = Engine(lambda engine, batch: None)
    >>> _ = SampleGrids(directory.name, lambda: [torch.rand(2, 3, 8, 8)] * 3).attach(trainer)
    >>> _ = trainer.run([0], max_epochs=2)
    >>> sorted(path.name for path in Path(directory.name).iterdir())
    ['epoch_0001.png', 'epoch_0002.png']
    >>> directory.cleanup()
    """

    def __init__(
        self,
        directory: str | Path,
        make_columns: Callable[[], list[Tensor]],
        *,
        every_epochs: int = 1,
        seed: int = 0,
    ) -> None:
        if every_epochs < 1:
            raise ValueError(f"every_epochs must be at least 1, got {every_epochs}")
        self.directory, self.make_columns = Path(directory), make_columns
        self.every_epochs, self.seed = every_epochs, seed

    def attach(self, engine: Engine) -> "SampleGrids":
        """Register on the engine's events and return self."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.write_if_due)
        return self

    def write_if_due(self, engine: Engine) -> None:
        """Write the grid of this epoch."""
        if engine.state.epoch % self.every_epochs or idist.get_rank():
            return
        # A quarter of a second to import torchvision's ops: only who draws pays for it.
        from torchvision.utils import save_image

        # Without a list, torch takes the generators of all devices, and warns of more than one.
        devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(self.seed)
            columns = self.make_columns()
        images = torch.stack([column.cpu() for column in columns], dim=1).flatten(0, 1)
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            path = self.directory / f"epoch_{engine.state.epoch:04d}.png"
            look = {"nrow": len(columns), "normalize": True, "value_range": (-1, 1), "format": "png"}
            write_whole(path, lambda temporary: save_image(images, temporary, **look))
        except OSError as error:
            _LOGGER.warning("%s: no samples were written (%s)", self.directory, error)
