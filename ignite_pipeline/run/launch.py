"""From the command line to the exit status."""

import copy
from collections.abc import Callable, Collection, Sequence

from handlers.errors import NotSaved, UnusableRun
from handlers.signals import raising_on_signals
from ignite_pipeline.command_line import Parser, exit_on_bad_input
from ignite_pipeline.run.options import add_run_options, parse_options
from ignite_pipeline.run.processes import require_single_process
from ignite_pipeline.run.session import Run
from ignite_pipeline.run.stored_options import options_as_is


def launch(
    train: Callable[[Run], None],
    parser: Parser,
    argv: Sequence[str] | None = None,
    *,
    task: str,
    resumable: Collection[str] = (),
) -> None:
    """Call ``train`` with the run that the command line asks for; exit with a status that tells how it went.

    The options that every run has are added to a copy of ``parser``; its ``set_defaults`` may give them
    other defaults. ``task`` names the recipe: runs go to ``runs/<task>/``, and ``--resume`` takes no other
    recipe's. ``resumable`` names the options of the recipe that may be given anew when a run is resumed.

    It returns when the run is done. ``SystemExit`` is raised with status 2, after one line on standard error,
    for `BadInput`, `UnusableRun` and `NotSaved`, and with 128 and the signal's number after a signal of
    `handlers.signals.ENDING`, once the run is saved. Any other exception is a defect and goes through.
    """
    parser = copy.deepcopy(parser)
    add_run_options(parser)
    if unknown := set(resumable) - {action.dest for action in parser._actions}:
        raise ValueError(f"resumable must name options of the recipe, got {', '.join(sorted(unknown))}")
    with exit_on_bad_input(parser.prog, NotSaved, UnusableRun), raising_on_signals():
        require_single_process()
        options = parse_options(parser, argv, task=task, resumable=resumable)
        as_is = options_as_is(parser, options)
        with Run(task, options, recipe=train, resumable=resumable, as_is=as_is) as run:
            train(run)
    if not run.trained:
        raise RuntimeError("the recipe has returned without run.train")
