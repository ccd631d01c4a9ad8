"""Classifiers of 32×32 colour images: two from the book, and the quick residual net that is the default.

The book is "Deep Learning with PyTorch" (Stevens, Antiga and Viehmann, 2020), chapters 7 and 8.
"""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn


def fully_connected(num_classes: int = 2) -> nn.Module:
    """Return the net of chapter 7, 3072-512-classes with tanh; logits where the book has log-softmax.

    >>> sum(p.numel() for p in fully_connected().parameters())
    1574402
    """
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 512), nn.Tanh(), nn.Linear(512, num_classes))


def conv_net(num_classes: int = 2) -> nn.Module:
    """Return the net of chapter 8: two convolutions of 16 and 8 channels, two linear layers, tanh.

    >>> sum(p.numel() for p in conv_net().parameters())
    18090
    """
    return nn.Sequential(
        nn.Conv2d(3, 16, kernel_size=3, padding=1),
        nn.Tanh(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 8, kernel_size=3, padding=1),
        nn.Tanh(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * 8 * 8, 32),
        nn.Tanh(),
        nn.Linear(32, num_classes),
    )


class Whitening(nn.Conv2d):
    """Filter images by the strongest principal components of 2×2 patches, at unit variance, and negated.

    `fit` sets the filters, and they stay; the biases are trained. A net so begins with features better than
    chance gives, which no longer change (Jordan, arXiv 2404.00498, section 3.2).

    >>> import torch
    >>> Whitening()(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 12, 31, 31])
    """

    def __init__(self, channels: int = 3, components: int = 6) -> None:
        super().__init__(channels, 2 * components, kernel_size=2)
        nn.init.zeros_(cast(nn.Parameter, self.bias))
        self.weight.requires_grad_(False)

    def fit(self, images: Tensor) -> None:
        """Take the filters from ``images``, (N, C, H, W), normalised."""
        patches = nn.functional.unfold(images, 2).transpose(1, 2).flatten(0, 1).double()
        variances, components = torch.linalg.eigh(patches.T @ patches / len(patches))
        strongest = (components / (variances + 5e-4).sqrt()).T.flip(0)[: self.out_channels // 2]
        filters = torch.cat([strongest, -strongest]).view_as(self.weight)
        with torch.no_grad():
            self.weight.copy_(filters)


def fit_whitening(model: nn.Module, images: Tensor) -> None:
    """Fit the `Whitening` layer of a model, if it has one, to normalised images ``(N, C, H, W)``."""
    for layer in model.modules():
        if isinstance(layer, Whitening):
            layer.fit(images)


class Residual(nn.Module):
    """Add a block's output to its input (He et al., arXiv 1512.03385)."""

    def __init__(self, *block: nn.Module) -> None:
        super().__init__()
        self.block = nn.Sequential(*block)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x + block(x)``."""
        residual: Tensor = self.block(x)
        return x + residual


class GlobalMaxPool(nn.Module):
    """Take the largest of each channel, ``(B, C, H, W)`` to ``(B, C)``; deterministic on GPUs too.

    ``scale`` multiplies it: a small one keeps logits small, and their gradients alive, for longer.
    """

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x``'s maximum over height and width, scaled."""
        return x.amax((2, 3)) * self.scale


def residual_net(num_classes: int = 2, *, width: int = 32) -> nn.Module:
    """Return a small residual net: a `Whitening` layer, six convolutions and a linear layer.

    Three stages of ``width``, ``2 * width`` and ``4 * width`` channels; each halves the sides at once, so
    that most work is done at 15×15 and below (after David Page, "How to train your ResNet", 2018).

    >>> residual_net()(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 2])
    """

    def convolution(channels_in: int, channels_out: int, pool: bool = False) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(channels_in, channels_out, kernel_size=3, padding=1, bias=False),
            *([nn.MaxPool2d(2)] if pool else []),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(inplace=True),
        )

    def stage(channels_in: int, channels_out: int) -> nn.Module:
        return nn.Sequential(
            convolution(channels_in, channels_out, pool=True),
            Residual(convolution(channels_out, channels_out)),
        )

    whitening = Whitening()
    return nn.Sequential(
        whitening,
        nn.ReLU(inplace=True),
        stage(whitening.out_channels, width),
        stage(width, 2 * width),
        stage(2 * width, 4 * width),
        GlobalMaxPool(scale=0.15),
        nn.Linear(4 * width, num_classes),
    )


CLASSIFIERS: dict[str, Callable[[int], nn.Module]] = {
    "resnet": residual_net,
    "conv": conv_net,
    "fully-connected": fully_connected,
}
