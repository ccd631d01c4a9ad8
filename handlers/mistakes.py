"""Which classes a classifier confuses, and its most confident errors, for the report of a run."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import Tensor

from handlers.files import read_regular, write_whole
from handlers.surest_errors import SurestErrors, have_names

PER_ROW = 8
_SIDE = 96


class Mistakes:
    """Count, in each evaluation, which class was predicted for which, and keep the most confident errors.

    Attach it to an engine that returns ``{"y_pred": logits (B, K), "y": classes (B,)}``; ``classes`` are the
    K names. What has none, such as a target of -100, is left out. `write` puts ``mistakes.json`` into a run
    directory and, with ``image_of``, ``mistakes.png``: the images ``(3, H, W)`` uint8 of the errors, by their
    indices in the evaluation. Nothing waits for the device before.

    >>> evaluator = Engine(lambda engine, batch: {"y_pred": batch, "y": torch.tensor([0, 0])})
    >>> mistakes = Mistakes(["day", "night"]).attach(evaluator)
    >>> _ = evaluator.run([torch.tensor([[3.0, 0.0], [0.0, 2.0]])])
    >>> found = mistakes.found()
    >>> found["confusion"], found["most_confident_errors"][0]["index"]
    ([[1, 1], [0, 0]], 1)
    """

    def __init__(self, classes: Sequence[str], *, image_of: Callable[[int], Tensor] | None = None) -> None:
        self.classes, self.image_of = tuple(classes), image_of
        self._counts: Tensor | None = None  # (K * K + 1,): the last is what was left out
        self._errors = SurestErrors(self.classes)
        self._complete: tuple[Tensor, SurestErrors] | None = None

    def attach(self, engine: Engine) -> "Mistakes":
        """Register on the evaluator's events and return self."""
        engine.add_event_handler(Events.EPOCH_STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.count)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.complete)
        return self

    def start(self) -> None:
        """Begin anew."""
        self._counts, self._errors = None, SurestErrors(self.classes)

    def count(self, engine: Engine) -> None:
        """Take in a batch."""
        output: Any = engine.state.output
        y_pred, y = output["y_pred"].detach(), output["y"].long()
        confidence, predicted = y_pred.float().softmax(1).max(1)
        number = len(self.classes)
        cells = torch.where(have_names(predicted, y, number), y * number + predicted, number**2)
        if self._counts is None:
            self._counts = torch.zeros(number**2 + 1, dtype=torch.long, device=y.device)
        self._counts.scatter_add_(0, cells, torch.ones_like(cells))
        self._errors.update(confidence, predicted, y)

    def complete(self) -> None:
        """Take what was counted for the last whole evaluation."""
        if self._counts is not None:
            self._complete = self._counts, self._errors

    def found(self) -> dict[str, Any]:
        """Return what the last whole evaluation came to, true classes by rows; nothing before any."""
        if self._complete is None:
            return {}
        counts, errors = self._complete
        number = len(self.classes)
        *confusion, left_out = counts.tolist()
        return {
            "classes": list(self.classes),
            "confusion": [confusion[start : start + number] for start in range(0, number**2, number)],
            "left_out": left_out,
            "most_confident_errors": errors.found(),
        }

    def write(self, directory: str | Path) -> None:
        """Write ``mistakes.json`` and ``mistakes.png``, if there was an evaluation."""
        found = self.found()
        if not found:
            return
        text = json.dumps(found, indent=2) + "\n"
        write_whole(Path(directory) / "mistakes.json", lambda path: path.write_text(text))
        errors = found["most_confident_errors"]
        if self.image_of is not None and errors:
            images = [self.image_of(error["index"]) for error in errors]
            write_whole(Path(directory) / "mistakes.png", lambda path: _write_rows(images, path))


def read_mistakes(directory: Path) -> dict[str, Any] | None:
    """Return what `Mistakes.write` has left in a run directory; None if that is nothing, or damaged."""
    try:
        found = json.loads(read_regular(directory / "mistakes.json"))
        classes = [str(name) for name in found["classes"]]
        confusion = [[int(count) for count in row] for row in found["confusion"]]
        errors = [
            {
                "true": str(error["true"]),
                "predicted": str(error["predicted"]),
                "probability": float(error["probability"]),
            }
            for error in found["most_confident_errors"]
        ]
    except (OSError, ValueError, LookupError, TypeError, ArithmeticError, RecursionError):
        return None
    if not classes or {len(confusion), *map(len, confusion)} != {len(classes)}:
        return None
    return {"classes": classes, "confusion": confusion, "most_confident_errors": errors}


def _write_rows(images: Sequence[Tensor], path: Path) -> None:
    """Write images ``(3, H, W)`` uint8 in rows of eight, each in a square."""
    from PIL import Image

    rows = -(-len(images) // PER_ROW)
    sheet = Image.new("RGB", (_SIDE * PER_ROW, _SIDE * rows), "white")
    for index, image in enumerate(images):
        tile = Image.fromarray(image.permute(1, 2, 0).cpu().numpy())
        is_small = max(tile.size) * 2 <= _SIDE
        method = Image.Resampling.NEAREST if is_small else Image.Resampling.BICUBIC
        tile = tile.resize((_SIDE - 4, _SIDE - 4), method)
        sheet.paste(tile, (index % PER_ROW * _SIDE + 2, index // PER_ROW * _SIDE + 2))
    sheet.save(path, format="PNG")
