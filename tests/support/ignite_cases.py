"""Ignite's own handlers, metrics and engines in a recipe, each as its documentation shows it."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from ignite import handlers as ignite_handlers
from ignite.engine import Engine, Events, create_supervised_evaluator, create_supervised_trainer
from ignite.handlers import param_scheduler, state_param_scheduler
from ignite.handlers.tensorboard_logger import OptimizerParamsHandler, TensorboardLogger
from ignite.metrics import Accuracy, ConfusionMatrix, Loss, Precision, Recall, RunningAverage
from torch import nn

from handlers import EvaluateEachEpoch, LearningRate, StepMeans
from ignite_pipeline.run import Best, Run
from ignite_pipeline.steps import evaluation_step, supervised_step
from tests.support.points import Points

EPOCHS = 3


@dataclass
class Parts:
    """What a recipe has made when somebody attaches a handler of Ignite's."""

    run: Run
    trainer: Engine
    evaluator: Engine
    model: nn.Module
    optimizer: torch.optim.Optimizer


def early_stopping(it):
    stopping = ignite_handlers.EarlyStopping(
        1, lambda engine: -engine.state.metrics["loss"] // 0.2, it.trainer
    )
    it.evaluator.add_event_handler(Events.COMPLETED, stopping)


def ema_handler(it, **options):
    average = ignite_handlers.EMAHandler(it.model, momentum=0.1, **options)
    average.attach(it.trainer)

    @it.trainer.on(Events.EPOCH_COMPLETED)
    def publish(engine):
        engine.state.metrics["val/ema"] = sum(p.double().sum().item() for p in average.ema_model.parameters())


def ema_handler_with_warmup(it):
    ema_handler(it, momentum_warmup=0.5, warmup_iters=20)


def lr_finder(it):
    finder = ignite_handlers.FastaiLRFinder()
    saved = {"model": it.model, "optimizer": it.optimizer}
    loader = it.run.evaluation_loader(Points(), batch_size=4)
    options = {"output_transform": lambda output: output["loss"], "num_iter": 30, "end_lr": 100.0}
    with warnings.catch_warnings(), finder.attach(it.trainer, saved, **options) as searching:
        warnings.simplefilter("ignore")  # the loss need not diverge here
        searching.run(loader)


def each_iteration(it, scheduler):
    it.trainer.add_event_handler(Events.ITERATION_STARTED, scheduler)


def cosine_annealing(it):
    each_iteration(it, param_scheduler.CosineAnnealingScheduler(it.optimizer, "lr", 0.2, 0.01, cycle_size=10))


def piecewise_linear(it):
    each_iteration(it, param_scheduler.PiecewiseLinear(it.optimizer, "lr", [(0, 0.01), (10, 0.2), (30, 0.0)]))


def concat_scheduler(it):
    rise = param_scheduler.LinearCyclicalScheduler(it.optimizer, "lr", 0.01, 0.2, cycle_size=20)
    fall = param_scheduler.CosineAnnealingScheduler(it.optimizer, "lr", 0.2, 0.01, cycle_size=40)
    each_iteration(it, param_scheduler.ConcatScheduler([rise, fall], durations=[10]))


def warmup(it):
    schedule = torch.optim.lr_scheduler.ExponentialLR(it.optimizer, gamma=0.95)
    each_iteration(
        it,
        param_scheduler.create_lr_scheduler_with_warmup(
            schedule, warmup_start_value=0.0, warmup_duration=5, warmup_end_value=0.1
        ),
    )


def lr_scheduler(it):
    schedule = torch.optim.lr_scheduler.StepLR(it.optimizer, step_size=5, gamma=0.7)
    each_iteration(it, param_scheduler.LRScheduler(schedule))


def reduce_on_plateau(it):
    it.evaluator.add_event_handler(
        Events.COMPLETED,
        param_scheduler.ReduceLROnPlateauScheduler(
            it.optimizer, metric_name="loss", trainer=it.trainer, patience=0, mode="max", threshold=10.0
        ),
    )


def state_scheduler(it):
    scheduler = state_param_scheduler.LambdaStateScheduler(
        lambda event: 0.5**event, param_name="noise", create_new=True
    )
    scheduler.attach(it.trainer, Events.ITERATION_STARTED(every=4))

    @it.trainer.on(Events.ITERATION_STARTED)
    def disturb(engine):
        it.model[0].bias.data.add_((engine.state.noise or 0.0) * torch.rand(8))


def model_checkpoint(it):
    saver = ignite_handlers.ModelCheckpoint(it.run.directory / "theirs", n_saved=2, require_empty=False)
    it.trainer.add_event_handler(Events.EPOCH_COMPLETED, saver, {"model": it.model})


def terminate_on_nan(it):
    it.trainer.add_event_handler(
        Events.ITERATION_COMPLETED, ignite_handlers.TerminateOnNan(lambda output: output["loss"])
    )


def tensorboard(it):
    logger = TensorboardLogger(log_dir=it.run.directory / "tensorboard")
    logger.attach_output_handler(
        it.trainer, Events.ITERATION_COMPLETED(every=5), tag="train", output_transform=lambda output: output
    )
    logger.attach(it.trainer, OptimizerParamsHandler(it.optimizer), Events.ITERATION_STARTED)
    it.trainer.add_event_handler(Events.COMPLETED, logger.close)


def progress_bar(it):
    ignite_handlers.ProgressBar(persist=True).attach(it.trainer, output_transform=lambda output: output)


def basic_profiler(it):
    ignite_handlers.BasicTimeProfiler().attach(it.trainer)


def handlers_profiler(it):
    ignite_handlers.HandlersTimeProfiler().attach(it.trainer)


def confusion_matrix(it):
    ConfusionMatrix(num_classes=2).attach(it.evaluator, "confusion")
    Recall().attach(it.evaluator, "recall")


def metrics_of_training(it):
    RunningAverage(output_transform=lambda output: output["loss"]).attach(it.trainer, "train/average")
    seen = {"output_transform": lambda output: (output["y_pred"], output["y"])}
    Accuracy(**seen).attach(it.trainer, "train/accuracy")
    Precision(average=True, **seen).attach(it.trainer, "train/precision")
    ConfusionMatrix(num_classes=2, **seen).attach(it.trainer, "confusion")


def nothing(it):
    pass


@dataclass(frozen=True)
class Case:
    """A row of the table: what it is called there, and how it is attached."""

    name: str
    attach: Callable[[Parts], None]
    default_engines: bool = False


CASES = [
    Case("`EarlyStopping`", early_stopping),
    Case("`EMAHandler`", ema_handler),
    Case("`EMAHandler` with a warm-up", ema_handler_with_warmup),
    Case("`FastaiLRFinder`", lr_finder),
    Case("`CosineAnnealingScheduler`", cosine_annealing),
    Case("`PiecewiseLinear`", piecewise_linear),
    Case("`ConcatScheduler` of `LinearCyclicalScheduler` and `CosineAnnealingScheduler`", concat_scheduler),
    Case("`create_lr_scheduler_with_warmup`", warmup),
    Case("`LRScheduler`", lr_scheduler),
    Case("`ReduceLROnPlateauScheduler`", reduce_on_plateau),
    Case("`LambdaStateScheduler`", state_scheduler),
    Case("`ModelCheckpoint`", model_checkpoint),
    Case("`TerminateOnNan`", terminate_on_nan),
    Case("`TensorboardLogger`", tensorboard),
    Case("`ProgressBar`", progress_bar),
    Case("`BasicTimeProfiler`", basic_profiler),
    Case("`HandlersTimeProfiler`", handlers_profiler),
    Case("`ConfusionMatrix` and `Recall` of the evaluator", confusion_matrix),
    Case("`RunningAverage`, `Accuracy`, `Precision`, `ConfusionMatrix` of the trainer", metrics_of_training),
    Case("`create_supervised_trainer`, `create_supervised_evaluator`", nothing, default_engines=True),
]


def train(run: Run, case: Case, first: bool) -> None:
    """Train with what a case attaches, ``first`` or after the run's own handlers."""
    loader = run.train_loader(Points(), batch_size=4)
    model = run.place(
        nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.ReLU(), nn.Linear(8, 2))
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    loss_fn = nn.CrossEntropyLoss()
    if case.default_engines:
        trainer = create_supervised_trainer(model, optimizer, loss_fn)
        evaluator = create_supervised_evaluator(model)
    else:
        train_step = supervised_step(model, optimizer, loss_fn, compute=run.compute)

        def step(engine, batch):
            with torch.no_grad():
                y_pred = model[0](batch[0])[:, :2]
            return {**train_step(engine, batch), "y_pred": y_pred, "y": batch[1]}

        trainer = Engine(step)
        evaluator = Engine(evaluation_step(model, compute=run.compute))
    Accuracy().attach(evaluator, "accuracy")
    output = None if case.default_engines else lambda output: (output["y_pred"], output["y"])
    Loss(loss_fn, **({"output_transform": output} if output else {})).attach(evaluator, "loss")
    parts = Parts(run, trainer, evaluator, model, optimizer)
    if first:
        case.attach(parts)
    run.attach(
        trainer,
        measure=[StepMeans(every_iters=5), LearningRate(optimizer, every_iters=1)],
        evaluate=[EvaluateEachEpoch(evaluator, run.evaluation_loader(Points(), batch_size=16))],
        save={"model": model, "optimizer": optimizer},
        best=Best("val/accuracy"),
    )
    if not first:
        case.attach(parts)
    run.train(trainer, loader, epochs=EPOCHS)
