"""What a classifier takes for what, and its most confident errors, for the report of a run."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import Tensor

from handlers.files import write_whole
from handlers.surest_errors import SurestErrors

PER_ROW = 8
_SIDE = 96


class Mistakes:
    """Count, in each evaluation, which class was taken for which, and remember the most confident errors.

    ``evaluator`` returns ``{"y_pred": logits (B, K), "y": classes (B,)}``; ``classes`` are the K names.
    `write` puts ``mistakes.json`` into a run directory and, with ``image_of``, ``mistakes.png``: the images
    ``(3, H, W)`` uint8 of the errors, by index in the evaluation. Nothing waits for the device before.

    >>> evaluator = Engine(lambda engine, batch: {"y_pred": batch, "y": torch.tensor([0, 0])})
    >>> mistakes = Mistakes(evaluator, ["day", "night"])
    >>> _ = evaluator.run([torch.tensor([[3.0, 0.0], [0.0, 2.0]])])
    >>> found = mistakes.found()
    >>> found["confusion"], found["worst"][0]["index"]
    ([[1, 1], [0, 0]], 1)
    """

    def __init__(
        self,
        evaluator: Engine,
        classes: Sequence[str],
        *,
        image_of: Callable[[int], Tensor] | None = None,
    ) -> None:
        self.classes, self.image_of = tuple(classes), image_of
        self._confusion: Tensor | None = None
        self._worst = SurestErrors(self.classes)
        evaluator.add_event_handler(Events.STARTED, self.start)
        evaluator.add_event_handler(Events.ITERATION_COMPLETED, self.count)

    def attach(self, engine: Engine) -> "Mistakes":
        """Return self: the evaluator is all that is listened to."""
        return self

    def start(self) -> None:
        """Begin anew: only the last evaluation counts."""
        self._confusion = None
        self._worst = SurestErrors(self.classes)

    def count(self, engine: Engine) -> None:
        """Take in a batch."""
        output: Any = engine.state.output
        y_pred, y = output["y_pred"].detach(), output["y"]
        confidence, predicted = y_pred.float().softmax(1).max(1)
        number = len(self.classes)
        counts = torch.bincount(y * number + predicted, minlength=number**2).view(number, number)
        self._confusion = counts if self._confusion is None else self._confusion + counts
        self._worst.update(confidence, predicted, y)

    def found(self) -> dict[str, Any]:
        """Return the confusion matrix, true classes by rows, and the worst errors; nothing before any."""
        if self._confusion is None:
            return {}
        confusion = self._confusion.tolist()
        return {"classes": list(self.classes), "confusion": confusion, "worst": self._worst.found()}

    def write(self, directory: str | Path) -> None:
        """Write ``mistakes.json`` and ``mistakes.png``, if there was an evaluation."""
        found = self.found()
        if not found:
            return
        text = json.dumps(found, indent=2) + "\n"
        write_whole(Path(directory) / "mistakes.json", lambda path: path.write_text(text))
        if self.image_of is not None and found["worst"]:
            images = [self.image_of(error["index"]) for error in found["worst"]]
            write_whole(Path(directory) / "mistakes.png", lambda path: _write_rows(images, path))


def _write_rows(images: Sequence[Tensor], path: Path) -> None:
    """Write images ``(3, H, W)`` uint8 in rows of eight, each in a square."""
    from PIL import Image

    rows = -(-len(images) // PER_ROW)
    sheet = Image.new("RGB", (_SIDE * PER_ROW, _SIDE * rows), "white")
    for place, image in enumerate(images):
        tile = Image.fromarray(image.permute(1, 2, 0).cpu().numpy())
        is_small = max(tile.size) * 2 <= _SIDE
        method = Image.Resampling.NEAREST if is_small else Image.Resampling.BICUBIC
        tile = tile.resize((_SIDE - 4, _SIDE - 4), method)
        sheet.paste(tile, (place % PER_ROW * _SIDE + 2, place // PER_ROW * _SIDE + 2))
    sheet.save(path, format="PNG")
