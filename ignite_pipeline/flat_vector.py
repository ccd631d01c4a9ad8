"""Gradients, buffers and numbers in one vector, to be added up in one go."""

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn


class FlatVector:
    """The layout of a vector: gradients of ``parameters``, buffers of ``models``, numbers, and what is spare.

    Gradients and floating buffers are added up in float32, or in the widest type among them. Any other
    buffer, a count of batches, say, travels as its bytes, from the first replica alone. A parameter without a
    gradient counts as one of zeros, unless it has none anywhere; that is looked at on a processor only, since
    other devices would have to be waited for.

    >>> weight = nn.Parameter(torch.ones(2))
    >>> weight.grad = torch.tensor([2.0, 4.0])
    >>> layout = FlatVector([weight], [])
    >>> vector = layout.packed([torch.tensor(3.0)], spare=1, is_first=True)
    >>> layout.unpacked(vector.div_(2), like=[torch.tensor(0.0)], count=2), weight.grad
    ([tensor(1.5000)], tensor([1., 2.]))
    """

    def __init__(self, parameters: Sequence[nn.Parameter], models: Iterable[nn.Module]) -> None:
        self.parameters, self.models = list(parameters), tuple(models)
        self._orders = [_memory_order(parameter) for parameter in self.parameters]
        tensors = [
            *self.parameters,
            *(buffer for _, _, buffer in self._buffers() if buffer.is_floating_point()),
        ]
        self.dtype = torch.float32
        for tensor in tensors:
            self.dtype = torch.promote_types(self.dtype, tensor.dtype)
        self._space: Tensor | None = None

    def suits(self, parameters: Sequence[nn.Parameter], models: tuple[nn.Module, ...]) -> bool:
        """Return whether the vector is of these."""
        mine = self.parameters
        return (
            self.models == models
            and len(mine) == len(parameters)
            and all(one is other for one, other in zip(mine, parameters, strict=True))
        )

    def packed(
        self, numbers: Sequence[Tensor], *, spare: int, is_first: bool, count: int = 1, reuse: bool = False
    ) -> Tensor:
        """Return a vector of what is there now, and drop the gradients; ``reuse`` its memory next time.

        Buffers are divided by ``count``: the sum of so many must not overflow where one holds the largest
        number that there is, as masks do.
        """
        device = self.parameters[0].device if self.parameters else None
        device = device or next((buffer.device for _, _, buffer in self._buffers()), None)
        pieces = [
            torch.zeros(parameter.numel(), dtype=self.dtype, device=device)
            if parameter.grad is None
            else _dense(parameter.grad).permute(order).reshape(-1)
            for parameter, order in zip(self.parameters, self._orders, strict=True)
        ]
        for _, _, buffer in self._buffers():
            flat = buffer.detach().reshape(-1)
            if buffer.is_floating_point():
                pieces.append(flat / count)
            else:
                pieces.append((flat if is_first else torch.zeros_like(flat)).view(torch.uint8))
        pieces += [number.reshape(-1) for number in numbers]
        if _can_be_asked(device):
            flags = [float(parameter.grad is not None) for parameter in self.parameters]
            pieces.append(torch.tensor(flags))
        pieces.append(torch.zeros(spare, device=device))
        pieces = [piece.to(device=device, dtype=self.dtype) for piece in pieces]
        for parameter in self.parameters:
            parameter.grad = None
        if not reuse:
            return torch.cat(pieces)
        size = sum(map(len, pieces))
        if self._space is None or len(self._space) != size:
            self._space = torch.empty(size, dtype=self.dtype, device=device)
        return torch.cat(pieces, out=self._space)

    @torch.no_grad()
    def unpacked(self, vector: Tensor, *, like: Sequence[Tensor], count: int) -> list[Tensor]:
        """Put gradients and buffers in their places; return the numbers, in shapes ``like`` these.

        ``count`` is what the vector was divided by.
        """
        start = 0

        def take(size: int) -> Tensor:
            nonlocal start
            start += size
            return vector[start - size : start]

        gradients = [take(parameter.numel()) for parameter in self.parameters]
        for module, name, buffer in self._buffers():
            if buffer.is_floating_point():
                value = (take(buffer.numel()) * count).view(buffer.shape)
            else:
                octets = (take(buffer.numel() * buffer.element_size()) * count).to(torch.uint8)
                value = octets.view(buffer.dtype).view(buffer.shape)
            # By its data: autograd may need the buffer, and takes any other change for a mistake.
            buffer.data.copy_(value)
            setattr(module, name, buffer)
        numbers = [take(number.numel()).view(number.shape).to(number.dtype, copy=True) for number in like]
        has_gradient = [1.0] * len(self.parameters)
        if _can_be_asked(vector.device):
            has_gradient = take(len(self.parameters)).tolist()
        for parameter, order, flat, has in zip(
            self.parameters, self._orders, gradients, has_gradient, strict=True
        ):
            if has:
                gradient = flat.view([parameter.shape[place] for place in order]).to(parameter)
                back = sorted(range(len(order)), key=order.__getitem__)
                parameter.grad = gradient.permute(back)
        return numbers

    def _buffers(self) -> Iterator[tuple[nn.Module, str, Tensor]]:
        for model in self.models:
            for module in model.modules():
                for name, buffer in module.named_buffers(recurse=False):
                    yield module, name, buffer


def _can_be_asked(device: torch.device | None) -> bool:
    """Return whether to read a number there costs nothing."""
    return device is None or device.type == "cpu"


def _dense(gradient: Tensor) -> Tensor:
    if gradient.layout is not torch.strided:
        raise TypeError(f"gradients must be dense to be added up, got {gradient.layout} (sparse=False)")
    return gradient


def _memory_order(tensor: Tensor) -> list[int]:
    """Return the dimensions from the slowest to the quickest: what is permuted so needs no copy."""
    strides = tensor.stride()
    return sorted(range(tensor.ndim), key=lambda place: -strides[place])
