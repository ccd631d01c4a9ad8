"""A confusion matrix as a picture."""

from collections.abc import Sequence
from typing import Any

from handlers.plain_text import plain_text


def draw_confusion(axis: Any, confusion: Sequence[Sequence[int]], classes: Sequence[str]) -> None:
    """Draw how many images of each class were predicted as which, dark where these are a large share."""
    shares = [[count / max(1, sum(row)) for count in row] for row in confusion]
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    small = len(classes) > 10
    for row, counts in enumerate(confusion):
        for column, count in enumerate(counts):
            if count and len(classes) <= 30:
                color = "white" if shares[row][column] > 0.5 else "black"
                size = 6 if small else 10
                axis.text(column, row, str(count), ha="center", va="center", color=color, fontsize=size)
    if len(classes) <= 40:
        places, size = range(len(classes)), 6 if small else 9
        names = [plain_text(name) for name in classes]
        axis.set_xticks(places, names, rotation=45 if small else 0, fontsize=size)
        axis.set_yticks(places, names, fontsize=size)
    axis.set(xlabel="predicted", ylabel="true", title="confusion matrix, images")
