"""The networks of pix2pix (Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks",
arXiv 1611.07004), with as many parameters as the PyTorch reference at 256 pixels.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ignite_pipeline.models.small_convolutions import (
    SmallConv2d,
    SmallConvTranspose2d,
    channels_last_on_cpu,
)

NORMS: dict[str, Callable[[int], nn.Module]] = {"batch": nn.BatchNorm2d, "instance": nn.InstanceNorm2d}
IMAGE_SIZES = (32, 64, 128, 256, 512)
MAX_WIDTH_FACTOR = 8


def initialize(module: nn.Module) -> None:
    """Draw weights from normal(0, 0.02) and batch-norm scales from normal(1, 0.02); zero the biases.

    Appendix 6.2 of the paper. Use it as ``network.apply(initialize)``.
    """
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


class UNetGenerator(nn.Module):
    """Translate images ``(B, channels_in, S, S)`` in [-1, 1] to ``(B, channels_out, S, S)`` in [-1, 1].

    ``image_size`` *S* is a power of two from 32 to 512, and the depth is its exponent: every level halves the
    sides, down to a single pixel, and a skip connection joins each to its mirror. Dropout stands in for noise
    at the inner levels of full width (section 3.2.1 and appendix 6.1).

    >>> sum(p.numel() for p in UNetGenerator().parameters())
    54413955
    >>> UNetGenerator(image_size=32, width=4)(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 3, 32, 32])
    """

    def __init__(
        self,
        channels_in: int = 3,
        channels_out: int = 3,
        *,
        image_size: int = 256,
        width: int = 64,
        norm: str = "batch",
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if image_size not in IMAGE_SIZES:
            raise ValueError(f"image_size must be one of {IMAGE_SIZES}, got {image_size}")
        make_norm = _norm(norm)
        bias = norm == "instance"  # batch norm would take it away again
        self.image_size = image_size
        depth = image_size.bit_length() - 1
        widths = [width * min(2**level, MAX_WIDTH_FACTOR) for level in range(depth)]
        self.downs, self.ups = nn.ModuleList(), nn.ModuleList()
        for level, channels in enumerate(widths):
            outermost, innermost = level == 0, level == depth - 1
            below = channels if innermost else 2 * channels
            above = channels_in if outermost else widths[level - 1]
            down: list[nn.Module] = [] if outermost else [nn.LeakyReLU(0.2, inplace=True)]
            down += [SmallConv2d(above, channels, bias=bias)]
            down += [] if outermost or innermost else [make_norm(channels)]
            up: list[nn.Module] = [nn.ReLU(inplace=True)]
            if outermost:
                up += [nn.ConvTranspose2d(below, channels_out, 4, 2, 1), nn.Tanh()]
            else:
                up += [SmallConvTranspose2d(below, above, bias=bias), make_norm(above)]
                inner_of_full_width = not innermost and above == channels
                up += [nn.Dropout(dropout)] if dropout and inner_of_full_width else []
            self.downs.append(nn.Sequential(*down))
            self.ups.insert(0, nn.Sequential(*up))
        self.apply(initialize)

    def forward(self, x: Tensor) -> Tensor:
        """Return the translation of ``x``."""
        # Where an activation works in place, it does so on the skip too: relu(leaky_relu(x)) is relu(x).
        x, skips = channels_last_on_cpu(x), []
        for down in self.downs:
            x = down(x)
            skips.append(x)
        x = self.ups[0](skips.pop())
        for up in self.ups[1:]:
            if x.requires_grad:
                x.register_hook(channels_last_on_cpu)  # batch norm is slow on a slice of what is joined
            x = up(torch.cat([skips.pop(), x], dim=1))
        return x


class PatchDiscriminator(nn.Module):
    """Judge overlapping patches of images ``(B, channels_in, H, W)``: one logit each, ``(B, 1, h, w)``.

    ``layers`` sets the patch, which is `receptive_field` pixels wide: 70 for 3 (section 3.2.2).

    >>> discriminator = PatchDiscriminator(6)
    >>> discriminator.receptive_field, sum(p.numel() for p in discriminator.parameters())
    (70, 2768705)
    """

    def __init__(self, channels_in: int, *, layers: int = 3, width: int = 64, norm: str = "batch") -> None:
        super().__init__()
        if layers < 1:
            raise ValueError(f"layers must be at least 1, got {layers}")
        make_norm = _norm(norm)
        bias = norm == "instance"
        modules: list[nn.Module] = [nn.Conv2d(channels_in, width, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True)]
        channels = width
        for layer in range(1, layers + 1):
            before, channels = channels, width * min(2**layer, MAX_WIDTH_FACTOR)
            stride = 2 if layer < layers else 1
            modules += [
                nn.Conv2d(before, channels, 4, stride, 1, bias=bias),
                make_norm(channels),
                nn.LeakyReLU(0.2, inplace=True),
            ]
        modules += [nn.Conv2d(channels, 1, 4, 1, 1)]
        self.layers = nn.Sequential(*modules)
        self.apply(initialize)

    @property
    def receptive_field(self) -> int:
        """The side in pixels of the patch that one logit sees."""
        field = 1
        for module in reversed(self.layers):
            if isinstance(module, nn.Conv2d):
                field = (field - 1) * module.stride[0] + module.kernel_size[0]
        return field

    def forward(self, x: Tensor) -> Tensor:
        """Return a logit for each patch."""
        logits: Tensor = self.layers(channels_last_on_cpu(x))
        return logits


def _norm(name: str) -> Callable[[int], nn.Module]:
    if name not in NORMS:
        raise ValueError(f"norm must be one of {', '.join(NORMS)}, got {name!r}")
    return NORMS[name]
