"""What a user can correct, told apart from a defect."""


class BadInput(ValueError):
    """An option, a file or a folder that is not as it must be; the message names it and says what to do.

    `ignite_pipeline.run.launch` prints the message in one line and exits with status 2.
    """
