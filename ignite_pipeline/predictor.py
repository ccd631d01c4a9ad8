"""A model together with all that stands between an image's pixels and its probabilities."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor, nn

from ignite_pipeline.data.batch_transforms import Centre, Normalize
from ignite_pipeline.model_modes import inference_mode_of
from ignite_pipeline.signature import Signature


class Predictor(nn.Module):
    """Map uint8 images ``(B, 3, S, S)`` to predictions, as validation did while training.

    These are float32: probabilities ``(B, K)`` of classes (their sum is 1) or of labels (each in 0 to 1),
    numbers ``(B, K)``, or images ``(B, 3, S, S)`` in [-1, 1]. ``call`` is how the model is called, such as
    ``Compute.predict``.

    >>> import torch
    >>> from ignite_pipeline.data.preprocessing import Preprocessing
    >>> preprocessing = Preprocessing(1, 1, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    >>> signature = Signature("classes", preprocessing, outputs=("red", "green", "blue"))
    >>> predictor = Predictor(nn.Flatten(), signature)
    >>> predictor(torch.tensor([255, 0, 0], dtype=torch.uint8).view(1, 3, 1, 1))
    tensor([[0.5761, 0.2119, 0.2119]])
    """

    def __init__(
        self,
        model: nn.Module,
        signature: Signature,
        *,
        call: Callable[[nn.Module, Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.model, self.signature = model, signature
        preprocessing = signature.preprocessing
        centred = signature.kind == "image"
        self.normalize: nn.Module = Centre() if centred else Normalize(preprocessing.mean, preprocessing.std)
        self._call = call

    def logits(self, images: Tensor) -> Tensor:
        """Return the model's own output, averaged with that for the mirror images if the signature says so.

        Of numbers and images, which have no logits, it is the prediction.
        """
        x = self.normalize(images)
        y_pred = self._predict(x)
        if self.signature.mirror:
            y_pred = (y_pred + self._predict(x.flip(-1))) / 2
        return y_pred

    def _predict(self, x: Tensor) -> Tensor:
        y_pred: Tensor = self.model(x) if self._call is None else self._call(self.model, x)
        return y_pred

    def forward(self, images: Tensor) -> Tensor:
        """Return the predictions."""
        logits = self.logits(images)
        if self.signature.kind == "classes":
            return logits.softmax(1)
        return logits.sigmoid() if self.signature.kind == "labels" else logits

    def inferring(self) -> AbstractContextManager[Any]:
        """Put the model into its mode, without gradients, within a ``with`` block."""
        return inference_mode_of(self.model, self.signature.mode)
