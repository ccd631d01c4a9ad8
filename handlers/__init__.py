"""Event handlers for any PyTorch-Ignite ``Engine``. Attachment order is execution order."""

from handlers.checkpoint_files import load_best, load_checkpoint, load_newest
from handlers.checkpointing import Checkpoints
from handlers.evaluation import EvaluateEachEpoch
from handlers.every_seconds import EverySeconds
from handlers.mistakes import Mistakes
from handlers.model_digest import model_sha256
from handlers.non_finite import StopOnNonFinite
from handlers.progress import ProgressLine
from handlers.record import RunRecord, create_run, read_config, update_config
from handlers.report import plot_report
from handlers.samples import SampleGrids
from handlers.signals import Interrupted, StopOnSignal
from handlers.timing import FetchComputeTimer
from handlers.training_metrics import LearningRate, ModelNorms, StepMeans
from handlers.unfreezing import UnfreezeAfter
from handlers.visdom_board import VisdomBoard
from handlers.weight_average import WeightAverage

__all__ = [
    "Checkpoints",
    "EvaluateEachEpoch",
    "EverySeconds",
    "FetchComputeTimer",
    "Interrupted",
    "LearningRate",
    "Mistakes",
    "ModelNorms",
    "ProgressLine",
    "RunRecord",
    "SampleGrids",
    "StepMeans",
    "StopOnNonFinite",
    "StopOnSignal",
    "UnfreezeAfter",
    "VisdomBoard",
    "WeightAverage",
    "create_run",
    "load_best",
    "load_checkpoint",
    "load_newest",
    "model_sha256",
    "plot_report",
    "read_config",
    "update_config",
]
