"""Predictions as a user gets them."""

import pytest

from ignite_pipeline.predict import __main__ as predict


def predicted(
    capfd: pytest.CaptureFixture[str], *arguments: object, status: int | None = None
) -> tuple[list[str], str]:
    """Predict; return the lines of standard output, and standard error."""
    if status is None:
        predict.main([str(argument) for argument in arguments])
    else:
        with pytest.raises(SystemExit) as stop:
            predict.main([str(argument) for argument in arguments])
        assert stop.value.code == status
    said = capfd.readouterr()
    return said.out.splitlines(), said.err
