"""Convolutions that a processor computes as products of matrices where the image is small.

Deep in a U-Net, a few pixels meet millions of weights. oneDNN's convolutions bring these weights into an
order of their own at every call, which then takes longer than to multiply; a product reads them as they
are. The numbers are the same but for rounding; names and shapes of the parameters too.
Large images are quicker as convolutions, with their channels last: see `channels_last_on_cpu`.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Pixels of the batch on the smaller side of the convolution: from here on, oneDNN is as fast.
_FEW_PIXELS = 256


class SmallConv2d(nn.Conv2d):
    """``nn.Conv2d`` that halves the sides, 4×4, stride 2 and padding 1, for outputs of few pixels.

    >>> SmallConv2d(3, 8)(torch.zeros(2, 3, 8, 8)).shape
    torch.Size([2, 8, 4, 4])
    """

    def __init__(self, channels_in: int, channels_out: int, *, bias: bool = True) -> None:
        super().__init__(channels_in, channels_out, kernel_size=4, stride=2, padding=1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(B, C_out, H // 2, W // 2)`` of ``(B, C_in, H, W)``."""
        count, height, width = x.shape[0], x.shape[2] // 2, x.shape[3] // 2
        if not _better_as_product(x, count * height * width):
            return super().forward(x)
        columns = F.unfold(x, 4, padding=1, stride=2).transpose(1, 2).flatten(0, 1)
        product = columns @ self.weight.flatten(1).T
        return _plus_bias(
            product.view(count, height, width, self.out_channels).permute(0, 3, 1, 2), self.bias
        )


class SmallConvTranspose2d(nn.ConvTranspose2d):
    """``nn.ConvTranspose2d`` that doubles the sides, 4×4, stride 2 and padding 1, for inputs of few pixels.

    >>> SmallConvTranspose2d(3, 8)(torch.zeros(2, 3, 4, 4)).shape
    torch.Size([2, 8, 8, 8])
    """

    def __init__(self, channels_in: int, channels_out: int, *, bias: bool = True) -> None:
        super().__init__(channels_in, channels_out, kernel_size=4, stride=2, padding=1, bias=bias)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Return ``(B, C_out, 2 * H, 2 * W)`` of ``(B, C_in, H, W)``."""
        count, _, height, width = x.shape
        if output_size is not None or not _better_as_product(x, count * height * width):
            return super().forward(x, output_size)
        pixels = x.movedim(1, 3).flatten(0, 2)
        product = pixels @ self.weight.flatten(1)
        columns = product.view(count, height * width, product.shape[1]).transpose(1, 2)
        # Where windows overlap, numbers of 16 bits are added up in float32.
        columns = columns.to(torch.promote_types(product.dtype, torch.float32))
        image = F.fold(columns, (2 * height, 2 * width), 4, padding=1, stride=2)
        image = image.to(product.dtype, memory_format=torch.channels_last)
        return _plus_bias(image, self.bias)


def channels_last_on_cpu(x: Tensor) -> Tensor:
    """Return ``x`` ``(B, C, H, W)`` with its channels last in memory, if a processor is to compute with it.

    Otherwise oneDNN reorders images of few channels and many pixels, which takes as long as the convolution.
    Large weights had better stay as they are: they are the factors of products.
    """
    return x.contiguous(memory_format=torch.channels_last) if x.device.type == "cpu" and x.ndim == 4 else x


def _better_as_product(x: Tensor, pixels: int) -> bool:
    return not torch.compiler.is_compiling() and pixels <= _FEW_PIXELS and x.device.type == "cpu"


def _plus_bias(image: Tensor, bias: Tensor | None) -> Tensor:
    return image if bias is None else image + bias.to(image.dtype).view(-1, 1, 1)
