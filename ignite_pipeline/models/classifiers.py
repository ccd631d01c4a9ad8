"""Classifiers of 32×32 colour images: two from the book, and the quick residual net that is the default.

The book is "Deep Learning with PyTorch" (Stevens, Antiga and Viehmann, 2020), chapters 7 and 8.
"""

from collections.abc import Callable

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


class Residual(nn.Module):
    """Add a block's output to its input (He et al., arXiv 1512.03385)."""

    def __init__(self, *block: nn.Module) -> None:
        super().__init__()
        self.block = nn.Sequential(*block)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x + block(x)``."""
        return x + self.block(x)


class GlobalMaxPool(nn.Module):
    """Take the largest of each channel, ``(B, C, H, W)`` to ``(B, C)``; deterministic on GPUs too."""

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x``'s maximum over height and width."""
        return x.amax((2, 3))


def residual_net(num_classes: int = 2, *, width: int = 16) -> nn.Module:
    """Return a narrow residual net of nine convolutions and a linear layer.

    Three stages of ``width``, ``2 * width`` and ``4 * width`` channels; each halves the sides at once, so
    that nearly all work is done at 16×16 and below (after David Page, "How to train your ResNet", 2018).

    >>> import torch
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

    stages = [
        nn.Sequential(
            convolution(channels_in, channels, pool=True),
            Residual(convolution(channels, channels), convolution(channels, channels)),
        )
        for channels_in, channels in ((3, width), (width, 2 * width), (2 * width, 4 * width))
    ]
    return nn.Sequential(*stages, GlobalMaxPool(), nn.Linear(4 * width, num_classes))


CLASSIFIERS: dict[str, Callable[[int], nn.Module]] = {
    "resnet": residual_net,
    "conv": conv_net,
    "fully-connected": fully_connected,
}
