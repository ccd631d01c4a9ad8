"""From the command line to the exit status."""

import copy
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from handlers.errors import NotSaved, UnusableRun
from handlers.signals import raising_on_signals
from ignite_pipeline.command_line import Parser, exit_on_bad_input, say
from ignite_pipeline.notebook import in_notebook, without_exits
from ignite_pipeline.run.options import add_run_options, parse_options
from ignite_pipeline.run.processes import Processes, largest_power_of_two
from ignite_pipeline.run.restarted import begun_before
from ignite_pipeline.run.roll_call import LostProcess
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
    `handlers.signals.ENDING`, once the run is saved; in a notebook's cell, `CellEnded` instead. Any other
    exception is a defect and goes through.
    """
    parser = copy.deepcopy(parser)
    add_run_options(parser)
    if in_notebook():  # where it would be called like the kernel
        parser.prog = task
    if unknown := set(resumable) - {action.dest for action in parser._actions}:
        raise ValueError(f"resumable must name options of the recipe, got {', '.join(sorted(unknown))}")
    parse = partial(parse_options, parser, task=task, resumable=resumable)
    words = sys.argv[1:] if argv is None else list(argv)
    # Whoever waits for other processes does not answer a signal.
    patience_s = 30.0 if os.environ.get("WORLD_SIZE", "1") == "1" else 5.0
    ending = raising_on_signals(patience_s=patience_s)
    in_one_line = exit_on_bad_input(parser.prog, NotSaved, UnusableRun)
    with without_exits(), in_one_line, ending, _saying_who_is_lost():
        options = parse(words)
        with Processes(device=options.device, timeout_s=options.process_timeout_s) as processes:
            options = _of_this_job(options, processes, parse, words, task)
            if options.replicas is None:  # a run that knew of none had one
                resumes = options.resume is not None
                options.replicas = 1 if resumes else largest_power_of_two(processes.started)
            processes.take_places(options.replicas)
            if processes.is_surplus:
                processes.wait()
                return
            as_is = options_as_is(parser, options)
            with Run(
                task, options, recipe=train, resumable=resumable, as_is=as_is, processes=processes
            ) as run:
                train(run)
            if not run.is_done:
                raise RuntimeError("the recipe has returned without run.train")


def _of_this_job(
    options: Namespace,
    processes: Processes,
    parse: Callable[[Sequence[str]], Namespace],
    words: Sequence[str],
    task: str,
) -> Namespace:
    """Return the options, or those of the run that an earlier start of the same job has begun."""
    if options.resume is not None:
        return options
    directory = processes.told_by_main(lambda: begun_before(task, options.output))
    if directory is None:
        return options
    say(f"started again: going on with {directory}")
    return parse([*words, "--resume", str(directory)])


@contextmanager
def _saying_who_is_lost() -> Iterator[None]:
    try:
        yield
    except LostProcess as lost:
        if not lost.is_said:
            print(lost, file=sys.stderr, flush=True)
        sys.exit(lost.status)
