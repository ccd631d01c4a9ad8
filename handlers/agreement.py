"""What several processes that train together have to decide as one."""

from typing import Protocol


class Agreement(Protocol):
    """What any process asks for, all learn of after the same iteration."""

    def ask(self, name: str) -> None:
        """Ask for something."""

    def is_agreed(self, name: str) -> bool:
        """Return whether somebody has asked for it and all know, since this was last found to be so."""
