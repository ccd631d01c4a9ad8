"""What a checkpoint needs beside its weights so that it alone is enough to predict."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from ignite_pipeline.data.preprocessing import Preprocessing
from ignite_pipeline.errors import BadInput

KINDS = ("classes", "labels", "numbers", "image")

_KIND_OF: dict[str, Any] = {
    "kind": str,
    "preprocessing": Preprocessing,
    "outputs": tuple,
    "model": str | None,
    "arguments": Mapping,
    "weights": str,
    "mirror": bool,
    "mode": str,
    "batch_size": int,
}


@dataclass(frozen=True)
class Signature:
    """What goes into a model and what comes out of it; a recipe gives it to ``run.attach``.

    ``kind`` says what an output is: "classes" (logits ``(B, K)``, one of K), "labels" (logits ``(B, K)``, any
    of K), "numbers" (``(B, K)``) or "image" (``(B, 3, S, S)`` in [-1, 1]); ``outputs`` are the K names; for
    an image, the one name "A" or "B" of the half of a pair that is predicted.
    Images come as ``preprocessing`` says. ``mirror`` averages the outputs for each image and its mirror
    image. ``model`` and ``arguments`` are as `build_model` takes them; without these, the model can be used
    as an exported program only. ``weights`` is the model's name in the checkpoint. ``mode`` is that of
    dropout and batch norm, "eval" or "train". ``batch_size`` is how many images were evaluated at once: with
    as many, predictions are the same to the last bit. ``TypeError`` or ``ValueError`` is raised for what
    cannot be so.

    >>> signature = Signature(
    ...     "classes",
    ...     outputs=("airplane", "bird"),
    ...     preprocessing=Preprocessing(32, 32, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2)),
    ...     model="classifiers/conv",
    ...     arguments={"num_classes": 2},
    ... )
    >>> Signature.from_json(signature.as_json()) == signature
    True
    """

    kind: str
    preprocessing: Preprocessing
    outputs: tuple[str, ...]
    model: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    weights: str = "model"
    mirror: bool = False
    mode: str = "eval"
    batch_size: int = 32

    def __post_init__(self) -> None:
        for name, kind in _KIND_OF.items():
            if not isinstance(getattr(self, name), kind):
                raise TypeError(f"{name} must be {kind}, got {getattr(self, name)!r}")
        if not all(isinstance(name, str) for name in (*self.outputs, *self.arguments)):
            raise TypeError(
                f"outputs and arguments must have names, got {self.outputs!r}, {self.arguments!r}"
            )
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {self.kind!r}")
        if not self.outputs:
            raise ValueError(f"outputs must name what the {self.kind} are, got none")
        if self.mode not in ("eval", "train"):
            raise ValueError(f"mode must be 'eval' or 'train', got {self.mode!r}")
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}")

    def example(self) -> Tensor:
        """Return black images such as the model takes: two, or the one that is translated at a time."""
        side = self.preprocessing.image_size
        return torch.zeros(1 if self.kind == "image" else 2, 3, side, side, dtype=torch.uint8)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {**asdict(self), "outputs": list(self.outputs), "arguments": dict(self.arguments)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Signature":
        """Return what `as_json` has made JSON of; raise `BadInput` if it is nothing of the kind."""
        try:
            given = dict(content)
            preprocessing = dict(given.pop("preprocessing"))
            for name in ("mean", "std"):
                preprocessing[name] = tuple(preprocessing[name])
            outputs = tuple(given.pop("outputs"))
            return cls(preprocessing=Preprocessing(**preprocessing), outputs=outputs, **given)
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise BadInput(f"damaged: it does not say what goes into the model ({error})") from error
