"""Images in files, scaled to one size, kept in memory once they have been decoded."""

import time
from contextlib import suppress

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ignite_pipeline.data.image_files import UnreadableImage, read_image, read_square
from ignite_pipeline.data.images import channel_statistics, level_counts
from ignite_pipeline.data.labelled_files import LabelledFiles
from ignite_pipeline.data.shared_array import SharedArray
from ignite_pipeline.errors import BadInput
from ignite_pipeline.machine import available_cores

_STATISTICS_IMAGES = 500
_TIMED_IMAGES = 16
Pixels = npt.NDArray[np.uint8]


class StoredImages(Dataset[tuple[Tensor, Tensor]]):
    """Images ``(3, H, W)`` uint8 and their targets, read when they are asked for.

    With an ``image_size``, each is scaled and cut to the square in its middle, of so many pixels a side;
    without, it keeps its size. With ``keep``, an image that has been read stays in memory that worker
    processes share: each file is decoded once, by whoever needs it first.
    """

    deterministic = True

    def __init__(
        self, files: LabelledFiles, *, image_size: int | None, keep: bool = False, contents: str = "sampled"
    ) -> None:
        if keep and image_size is None:
            raise ValueError("keep needs an image_size: memory is set aside for images of one size")
        self.files, self.image_size, self.contents = files, image_size, contents
        self._kept: SharedArray | None = None
        if keep and image_size is not None:
            self._kept = SharedArray((len(files), image_size, image_size, 3))
            self._is_kept = SharedArray((len(files),))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return one image and its target; `UnreadableImage` is raised for a file that is none."""
        index = range(len(self))[index]
        return torch.from_numpy(self._pixels(index)).permute(2, 0, 1), self.files.targets[index]

    def _pixels(self, index: int) -> Pixels:
        if self._kept is None:
            return self._read(index)
        if not self._is_kept.array[index]:
            self._kept.array[index] = self._read(index)
            self._is_kept.array[index] = 1
        kept: Pixels = self._kept.array[index]
        return kept.copy()  # a transform may write into it

    def _read(self, index: int) -> Pixels:
        path = self.files.path(index)
        return np.array(read_image(path) if self.image_size is None else read_square(path, self.image_size))

    def sha256(self) -> str:
        """Return the digest of the files, see `LabelledFiles.sha256`, to tell whether data has changed."""
        return self.files.sha256(contents=self.contents)

    def channel_statistics(self) -> tuple[Tensor, Tensor]:
        """Return the means and standard deviations, ``(3,)`` in [0, 1], of the channels of some 500 images.

        They stand evenly among all; those that cannot be read are left out. `BadInput` is raised if none can.
        """
        counts = torch.zeros(3, 256, dtype=torch.int64)
        for index in self._some(_STATISTICS_IMAGES):
            with suppress(UnreadableImage):
                counts += level_counts(self[index][0].unsqueeze(0))
        if not counts.any():
            raise BadInput(f"{self.files.path(0)}: not a readable image, as many others")
        return channel_statistics(counts)

    @property
    def helpful_workers(self) -> int:
        """How many workers help to read all images once: none, once they are kept in memory."""
        return 0 if self._kept is not None else available_cores()

    def seconds_per_image(self) -> float:
        """Return how long it takes to read an image, the median of a few.

        `UnreadableImage` is raised if none of these can be read.
        """
        times, unreadable = [], []
        for index in self._some(_TIMED_IMAGES):
            start = time.perf_counter()
            try:
                self._read(index)
                times.append(time.perf_counter() - start)
            except UnreadableImage as error:
                unreadable.append(error)
        if not times:
            raise unreadable[0]
        return float(np.median(times))

    def _some(self, count: int) -> range:
        return range(0, len(self), max(1, len(self) // count))
