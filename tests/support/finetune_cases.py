"""The recipe of run_finetune.py with options given in words, in a process that a test starts."""

import run_finetune
from ignite_pipeline.run import Run

MODEL = "shufflenet_v2_x0_5"  # small, with batch norm
SMALL = ["--model", MODEL, "--image-size", "32", "--batch-size", "10", "--epochs", "3"]


def train(run: Run, words: list[str]) -> None:
    """Train as the words say."""
    given = run_finetune.parser().parse_args(words)
    for name, value in vars(given).items():
        if not hasattr(run.options, name):
            setattr(run.options, name, value)
    run_finetune.train(run)
