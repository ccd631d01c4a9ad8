"""What a user can correct, told apart from a defect."""


class NotSaved(RuntimeError):
    """The last checkpoint of a run could not be written; the message says why, and what there is."""


class UnusableRun(ValueError):
    """A run directory, or a file in one, that cannot be used as it is; the message names it and says why."""
