"""Adversarial losses: each judges a discriminator's output in one of three roles.

``"real"`` and ``"fake"`` are the discriminator's own loss on real and generated images, ``"generator"`` is
what the generator wants of its images. The output may have any shape; the loss is a tensor ``()``.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

AdversarialLoss = Callable[[Tensor, str], Tensor]


def vanilla(output: Tensor, role: str) -> Tensor:
    """Return the cross-entropy of logits, non-saturating (Goodfellow et al., arXiv 1406.2661)."""
    wanted = torch.zeros_like(output) if role == "fake" else torch.ones_like(output)
    return F.binary_cross_entropy_with_logits(output, wanted)


def least_squares(output: Tensor, role: str) -> Tensor:
    """Return the squared distance from 1 for real, 0 for fake (Mao et al., arXiv 1611.04076)."""
    return F.mse_loss(output, torch.zeros_like(output) if role == "fake" else torch.ones_like(output))


def hinge(output: Tensor, role: str) -> Tensor:
    """Return the hinge loss with margins at 1 and -1 (Lim and Ye, arXiv 1705.02894)."""
    if role == "generator":
        return -output.mean()
    return F.relu(1 + output if role == "fake" else 1 - output).mean()


def wasserstein(output: Tensor, role: str) -> Tensor:
    """Return the critic's mean; combine it with `gradient_penalty` (Gulrajani et al., arXiv 1704.00028)."""
    return output.mean() if role == "fake" else -output.mean()


def gradient_penalty(judge: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor) -> Tensor:
    """Return how far the critic's gradient norm is from 1 between ``real`` and ``fake``, squared.

    Each pair of images ``(B, C, H, W)`` is mixed at a point of its own (Gulrajani et al., algorithm 1).

    >>> gradient_penalty(lambda x: x.sum((1, 2, 3)), torch.zeros(2, 1, 2, 2), torch.ones(2, 1, 2, 2)).item()
    1.0
    """
    share = torch.rand(len(real), 1, 1, 1).to(real.device, non_blocking=True)
    mixed = (share * real + (1 - share) * fake).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(judge(mixed).float().sum(), mixed, create_graph=True)
    norms: Tensor = gradient.flatten(1).norm(dim=1)
    return ((norms - 1) ** 2).mean()


def discriminator_loss(
    loss: AdversarialLoss, *, real: Tensor, fake: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the sum of a discriminator's losses on its outputs for real and for fake images.

    With it come ``accuracy_fake`` and ``accuracy_real``, as `discriminator_accuracy` has them.

    >>> found, accuracies = discriminator_loss(hinge, real=torch.tensor([2.0]), fake=torch.tensor([1.0]))
    >>> found.item(), accuracies["accuracy_real"].item(), accuracies["accuracy_fake"].item()
    (2.0, 1.0, 0.0)
    """
    judged = {"fake": fake, "real": real}
    total = torch.stack([loss(output, role) for role, output in judged.items()]).sum()
    return total, {
        f"accuracy_{role}": discriminator_accuracy(loss, output.detach(), role)
        for role, output in judged.items()
    }


class ImageBuffer:
    """Images that a generator made before, for its discriminator to see again: half of them, once it is full.

    (Shrivastava et al., arXiv 1612.07828, section 2.3; CycleGAN has one of 50 images for each generator.) It
    draws from torch's generator on the processor, and has a state to save.

    >>> buffer = ImageBuffer(2)
    >>> torch.equal(buffer.exchange(torch.ones(2, 1, 4, 4)), torch.ones(2, 1, 4, 4))
    True
    >>> len(buffer.state_dict()["images"])
    2
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"size must be at least 1, got {size}")
        self.size = size
        self.images: list[Tensor] = []

    def exchange(self, images: Tensor) -> Tensor:
        """Return images ``(B, C, H, W)`` without gradients, some of them in exchange for earlier ones."""
        shown = []
        for image in images.detach():
            place = int(torch.randint(2 * self.size, ()))
            if len(self.images) < self.size:
                self.images.append(image.clone())
            elif place < self.size:
                image, self.images[place] = self.images[place].to(image), image.clone()
            shown.append(image)
        return torch.stack(shown)

    def state_dict(self) -> dict[str, list[Tensor]]:
        """Return the images that are kept."""
        return {"images": [image.clone() for image in self.images]}

    def load_state_dict(self, state: dict[str, list[Tensor]]) -> None:
        """Go on with images that were kept."""
        self.images = list(state["images"])


LOSSES: dict[str, AdversarialLoss] = {
    "vanilla": vanilla,
    "least-squares": least_squares,
    "hinge": hinge,
    "wasserstein": wasserstein,
}


def discriminator_accuracy(loss: AdversarialLoss, output: Tensor, role: str) -> Tensor:
    """Return the share of outputs on the right side of the loss's boundary: 0.5 for least squares, else 0."""
    judged_real = output > (0.5 if loss is least_squares else 0.0)
    return (judged_real if role == "real" else ~judged_real).float().mean()
