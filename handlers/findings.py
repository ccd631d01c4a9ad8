"""What a look at a run finds."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """Something that takes time, or memory: its kind, its share of it, who it is, and all that in words."""

    kind: str
    share: float | None
    culprit: str | None
    words: str
    advice: str | None = None

    def __str__(self) -> str:
        return self.words
