"""What the user of a run must be told, kept with the run."""

from ignite_pipeline.command_line import say_loudly
from ignite_pipeline.run.directory import RunDirectory


class Notices:
    """Notices, said once the run begins, and at once after that; ``config.json`` keeps them."""

    def __init__(self, directory: RunDirectory) -> None:
        self.directory = directory
        self.texts: list[str] = []
        self._begun = False

    def add(self, text: str) -> None:
        """Add a notice."""
        self.texts.append(text)
        if self._begun:
            say_loudly(text)
            self.directory.note("notices", self.texts)

    def begin(self) -> None:
        """Say what there is so far."""
        self._begun = True
        for text in self.texts:
            say_loudly(text)
