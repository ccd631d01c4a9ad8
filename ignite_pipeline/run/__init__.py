"""What every recipe stands on: options, a run directory, workers, handlers in their order, exit status.

``from ignite_pipeline.run import Run, launch`` is all that a recipe needs; docs/recipe.md shows one.
"""

from ignite_pipeline.run._package_check import require_our_handlers

# First: what follows imports handlers, and would fail in words that do not help (hence E402 below).
require_our_handlers()

from ignite_pipeline.command_line import Parser, number  # noqa: E402
from ignite_pipeline.errors import BadInput  # noqa: E402
from ignite_pipeline.run.given import Best  # noqa: E402
from ignite_pipeline.run.launch import launch  # noqa: E402
from ignite_pipeline.run.session import Run  # noqa: E402

__all__ = ["BadInput", "Best", "Parser", "Run", "launch", "number"]
