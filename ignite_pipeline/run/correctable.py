"""What ends a run and is the user's to correct: in one line, said once."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ignite.engine import Engine

from ignite_pipeline.compute import Compute
from ignite_pipeline.data.position_keyed import UnreadableSample
from ignite_pipeline.errors import BadInput
from ignite_pipeline.run.out_of_memory import advice, is_out_of_memory


@contextmanager
def correctable(
    trainer: Engine, compute: Compute, *, batch_size: int, directory: Path, skips: bool = False
) -> Iterator[None]:
    """Raise `BadInput`, with what to do, where samples cannot be read or the device's memory is too small.

    ``skips`` says that samples that cannot be read are skipped: all of a batch could not.
    """
    trainer.logger.addFilter(_is_no_echo)  # evaluators have the same logger
    try:
        yield
    except UnreadableSample as error:
        words = str(error).strip().splitlines()[-1]  # above it, a worker's has the traceback
        reason = words.removeprefix(f"{type(error).__module__}.{type(error).__name__}: ")
        raise BadInput(f"{reason}; fix it" + ("" if skips else ", or --on-bad-sample skip")) from error
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise BadInput(advice(error, trainer, compute, batch_size=batch_size, directory=directory)) from None
    finally:
        trainer.logger.removeFilter(_is_no_echo)


def _is_no_echo(record: logging.LogRecord) -> bool:
    """Return whether a line of an engine's log is more than the message of an error that it raises."""
    return "terminating due to exception" not in str(record.msg)
