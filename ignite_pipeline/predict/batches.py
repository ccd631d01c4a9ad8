"""Images in batches for a model, decoded on all cores while it computes."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

from ignite_pipeline.command_line import say
from ignite_pipeline.data.image_files import UnreadableImage

Item = TypeVar("Item")


@dataclass(frozen=True)
class Batch(Generic[Item]):
    """Images ``(B, 3, S, S)`` uint8 of as many items; none where none of them could be read."""

    items: list[Item]
    images: Tensor
    unreadable: int


def read_in_batches(
    items: Sequence[Item], read: Callable[[Item], Tensor], *, batch_size: int
) -> Iterator[Batch[Item]]:
    """Read an image ``(3, S, S)`` of each item on all cores; yield ``batch_size`` of them at a time.

    Those of the next batch are read meanwhile. Images that cannot be read are reported and left out.
    """

    def try_to_read(item: Item) -> Tensor | None:
        try:
            return read(item)
        except UnreadableImage as error:
            say(str(error))
            return None

    with ThreadPoolExecutor() as pool:
        chunks = [items[start : start + batch_size] for start in range(0, len(items), batch_size)]
        reading = [pool.map(try_to_read, chunk) for chunk in chunks[:1]]
        for number, chunk in enumerate(chunks):
            reading += [pool.map(try_to_read, later) for later in chunks[number + 1 : number + 2]]
            images = zip(chunk, reading.pop(0), strict=True)
            readable = [(item, image) for item, image in images if image is not None]
            stacked = torch.stack([image for _, image in readable]) if readable else torch.empty(0)
            yield Batch([item for item, _ in readable], stacked, len(chunk) - len(readable))
