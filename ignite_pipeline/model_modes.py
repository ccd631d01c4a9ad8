"""The mode that a model is in, and what must not change while it is: parameters, buffers, statistics."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ignite_pipeline.errors import BadInput


class TrainingMode:
    """Keep a model in training mode, but for what is frozen.

    Whatever has parameters, all of them frozen (``requires_grad`` is false), is in eval mode: a batch norm
    there keeps its statistics. A module without parameters, such as dropout, is in the mode of what it is
    part of. What shall stay in eval mode has to be frozen: a call of ``eval()`` does not last.

    >>> backbone, head = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), nn.Linear(2, 2)
    >>> model = nn.Sequential(backbone.requires_grad_(False), nn.Dropout(), head)
    >>> TrainingMode(model).enter()
    >>> [part.training for part in model]
    [False, True, True]
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._modules: list[nn.Module] = []
        self._training: list[bool] = []
        self._parameters: list[nn.Parameter] = []
        self._trainable: list[bool] = []

    def enter(self) -> None:
        """Put the model in that mode, unless it is; to look takes 8 µs for a ResNet-18."""
        if (
            not self._modules
            or self._trainable != [parameter.requires_grad for parameter in self._parameters]
            or self._training != [module.training for module in self._modules]
        ):
            self._enter()

    def _enter(self) -> None:
        self._parameters = list(self.model.parameters())
        self._trainable = [parameter.requires_grad for parameter in self._parameters]
        self.model.train()
        for part in _frozen_parts(self.model):
            part.eval()
        self._modules = list(self.model.modules())
        self._training = [module.training for module in self._modules]


def _frozen_parts(model: nn.Module) -> Iterator[nn.Module]:
    """Yield the largest parts of a model that have parameters, and none to train."""
    trainable = [parameter.requires_grad for parameter in model.parameters()]
    if trainable and not any(trainable):
        yield model
    elif not all(trainable):
        for child in model.children():
            yield from _frozen_parts(child)


@contextmanager
def frozen(*models: nn.Module) -> Iterator[None]:
    """Compute no gradients for the models' parameters; restore what was before."""
    before = [(parameter, parameter.requires_grad) for model in models for parameter in model.parameters()]
    for parameter, _ in before:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter, requires_grad in before:
            parameter.requires_grad_(requires_grad)


class Buffers:
    """The buffers of models, such as the statistics of batch norm, as they are now.

    >>> model = nn.BatchNorm1d(2)
    >>> before = Buffers(model)
    >>> _ = model(torch.ones(3, 2))
    >>> before.restore()
    >>> model.running_mean
    tensor([0., 0.])
    """

    def __init__(self, *models: nn.Module) -> None:
        self._kept = [
            (module, name, buffer, buffer.clone())
            for model in models
            for module in model.modules()
            for name, buffer in module.named_buffers(recurse=False)
        ]

    def restore(self, where: Tensor | None = None) -> None:
        """Put them back; with ``where``, a tensor ``()``, if that is true, without asking the device."""
        for module, name, buffer, value in self._kept:
            current = getattr(module, name)
            # By its data: autograd may need the buffer, and takes any other change for a mistake.
            buffer.data.copy_(value if where is None else torch.where(where, value, current))
            setattr(module, name, buffer)  # a model may have put another tensor in its place


class RepeatedFrom:
    """A context in which a model's buffers begin as they were at an earlier call, and leave no trace."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self._then = model, Buffers(model)
        self._now: list[Buffers] = []

    def __enter__(self) -> None:
        self._now.append(Buffers(self.model))
        self._then.restore()

    def __exit__(self, *error: object) -> None:
        self._now.pop().restore()


@contextmanager
def inference_mode_of(model: nn.Module, mode: str) -> Iterator[None]:
    """Put a model in ``"train"`` or ``"eval"`` mode without gradients; restore modes and buffers after.

    In ``"train"`` mode dropout stays on and batch norm uses the statistics of the batch at hand, as pix2pix
    does at test time (section 3.3); the running statistics stay as they were.
    """
    before, buffers = [(module, module.training) for module in model.modules()], Buffers(model)
    model.train(mode == "train")
    try:
        with torch.no_grad():
            yield
    finally:
        buffers.restore()
        for module, training in before:
            module.training = training


def require_batch_statistics(model: nn.Module, batch_size: int, *, replicas: int, parts: int) -> None:
    """Raise `BadInput` if a model's batch norm would see batches of one, which have no deviation.

    A batch is cut among ``replicas``, and each of their shares into micro-batches, ``parts`` of them.

    >>> require_batch_statistics(nn.BatchNorm1d(3), 10, replicas=1, parts=4)
    Traceback (most recent call last):
    ...
    ignite_pipeline.errors.BadInput: --batch-size 10 with --replicas 1 and --micro-batches 4 leaves single
    samples, of which batch norm knows no deviation; give a larger batch, or fewer parts
    """
    share = batch_size // replicas
    of_part = -(-share // min(parts, share)) if share else 0
    least = share % of_part or of_part if of_part else 0
    has_statistics = any(isinstance(module, _BatchNorm) for module in model.modules())
    if has_statistics and least < 2:
        raise BadInput(
            f"--batch-size {batch_size} with --replicas {replicas} and --micro-batches {parts} leaves single"
            " samples, of which batch norm knows no deviation; give a larger batch, or fewer parts"
        )
