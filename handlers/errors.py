"""What a user can correct, told apart from a defect."""


class UnusableRun(ValueError):
    """A run directory, or a file in one, that cannot be used as it is; the message names it and says why."""
