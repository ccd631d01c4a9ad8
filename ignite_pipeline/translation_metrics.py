"""How near translated images are to those that they should be."""

from collections.abc import Callable

import torch
from ignite.engine import Engine
from ignite.metrics import PSNR, SSIM, Loss
from torch import Tensor, nn


def attach_translation_metrics(evaluator: Engine, device: torch.device) -> None:
    """Measure translations ``y_pred`` by L1 distance, PSNR and SSIM from ``y``, both in [-1, 1].

    >>> evaluator = Engine(lambda engine, images: {"y_pred": images, "y": images})
    >>> attach_translation_metrics(evaluator, torch.device("cpu"))
    >>> metrics = evaluator.run([torch.rand(1, 3, 16, 16)]).metrics
    >>> sorted(metrics), metrics["l1"]
    (['l1', 'psnr', 'ssim'], 0.0)
    """

    def measured(output: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        return output["y_pred"], output["y"]

    Loss(nn.functional.l1_loss, measured, device=device).attach(evaluator, "l1")
    PSNR(data_range=2, output_transform=measured, device=device).attach(evaluator, "psnr")
    SSIM(data_range=2, output_transform=measured, device=device).attach(evaluator, "ssim")


def measure_of_one() -> Callable[[Tensor, Tensor], dict[str, float]]:
    """Return what measures one translation ``(3, S, S)`` by the same, from the image that it should be.

    >>> measure_of_one()(torch.zeros(3, 16, 16), torch.full((3, 16, 16), 0.5))["l1"]
    0.5
    """
    evaluator = Engine(lambda engine, batch: batch)
    attach_translation_metrics(evaluator, torch.device("cpu"))

    def measure(y_pred: Tensor, y: Tensor) -> dict[str, float]:
        batch = {"y_pred": y_pred.unsqueeze(0), "y": y.unsqueeze(0)}
        return {name: float(value) for name, value in evaluator.run([batch]).metrics.items()}

    return measure
