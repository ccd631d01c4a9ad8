"""A prediction as a line, as a row of a table, or as a JSON object."""

import csv
import io
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from ignite_pipeline.signature import Signature

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_LINE_END = "\r\n"  # what Python's csv quotes of line ends are those of its own


@dataclass(frozen=True)
class Prediction:
    """What a model predicts for an image: ``values`` in the order of the signature's ``outputs``."""

    path: Path
    signature: Signature
    values: list[float]

    @property
    def named(self) -> dict[str, float]:
        """The values by their names."""
        return dict(zip(self.signature.outputs, self.values, strict=True))

    @property
    def best(self) -> str:
        """The class of the highest probability, the labels of more than a half, or the first number."""
        if self.signature.kind == "numbers":
            return f"{self.values[0]:.6g}"
        if self.signature.kind == "labels":
            return " ".join(name for name, value in self.named.items() if value > 0.5)
        return max(self.named, key=self.named.__getitem__)

    @property
    def probability(self) -> float | None:
        """The probability of the class; None where there is not one class."""
        return max(self.values) if self.signature.kind == "classes" else None


def as_line(prediction: Prediction) -> str:
    """Return the file, the class and its probability, between tabs; or the file and all values by name."""
    if prediction.probability is not None:
        return in_tabs(prediction.path, prediction.best, f"{prediction.probability:.4f}")
    return in_tabs(prediction.path, *(f"{name} {value:.4g}" for name, value in prediction.named.items()))


def in_tabs(*fields: object) -> str:
    """Return a line of fields between tabs. Tabs and line ends that are part of one are written as escapes.

    >>> print(in_tabs("two\\nlines.png", "bird"))
    two\\nlines.png	bird
    """
    return "\t".join(_CONTROL.sub(lambda found: repr(found.group())[1:-1], str(field)) for field in fields)


def as_json_line(prediction: Prediction) -> str:
    """Return a JSON object with all values."""
    kind = prediction.signature.kind
    content: dict[str, object] = {"file": str(prediction.path)}
    if kind == "classes":
        content |= {"class": prediction.best, "probability": prediction.probability}
    elif kind == "labels":
        content |= {"labels": [name for name, value in prediction.named.items() if value > 0.5]}
    return json.dumps({**content, "numbers" if kind == "numbers" else "probabilities": prediction.named})


def as_csv_line(prediction: Prediction) -> str:
    """Return the file, the class and its probability if there are such, and all values."""
    extra = [] if prediction.probability is None else [prediction.best, prediction.probability]
    return csv_line([str(prediction.path), *extra, *prediction.values])


def csv_header(signature: Signature) -> str:
    """Return the names of the columns.

    >>> from ignite_pipeline.data.preprocessing import Preprocessing
    >>> preprocessing = Preprocessing(8, 8, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
    >>> csv_header(Signature("classes", preprocessing, ("day", "night")))
    'file,class,probability,day,night'
    """
    extra = ["class", "probability"] if signature.kind == "classes" else []
    return csv_line(["file", *extra, *signature.outputs])


def csv_line(values: Iterable[object]) -> str:
    """Return a row of a table."""
    text = io.StringIO()
    csv.writer(text, lineterminator=_LINE_END).writerow(values)
    return text.getvalue().removesuffix(_LINE_END)


FORMATS: dict[str, Callable[[Prediction], str]] = {"text": as_line, "csv": as_csv_line, "json": as_json_line}
