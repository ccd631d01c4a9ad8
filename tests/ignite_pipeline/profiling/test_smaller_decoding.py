from itertools import accumulate, cycle

import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset
from torchvision import transforms as T

from ignite_pipeline.profiling.smaller_decoding import drafting, size_wanted, try_smaller_decoding
from tests.support.clocks import Clock


class Files(Dataset):
    """Smooth images in files, as Pillow writes them; each pixel that is decoded costs a microsecond."""

    def __init__(self, folder, suffix, side):
        self.clock = Clock()
        self.transform = T.Compose([T.Resize(64), T.RandomHorizontalFlip(), T.ToTensor()])
        self.paths = [folder / f"{index}{suffix}" for index in range(4)]
        torch.manual_seed(0)
        for path in self.paths:
            coarse = torch.rand(1, 3, 8, 8)
            fine = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 1)[0]
            T.functional.to_pil_image(fine).save(path)

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        return self.transform(self.read(index)), 0

    def read(self, index):
        with Image.open(self.paths[index]) as image:
            self.clock.spend(image.width * image.height * 1e-6)
            return image.convert("RGB")


def test_large_photographs_are_decoded_smaller_and_stay_nearly_the_same(tmp_path):
    dataset = Files(tmp_path, ".jpg", 1024)
    wanted = size_wanted(dataset.transform.transforms, dataset.read(0))
    assert wanted == (64, 64)
    found = try_smaller_decoding(dataset, wanted, clock=dataset.clock)
    assert found.size == wanted
    assert found.speedup == pytest.approx(64)  # an eighth of each side
    assert 0 < found.difference < 0.01
    assert dataset.read(0).size == (1024, 1024)


@pytest.mark.parametrize(("suffix", "side"), [(".png", 1024), (".jpg", 96)])
def test_other_formats_and_sizes_gain_nothing(tmp_path, suffix, side):
    dataset = Files(tmp_path, suffix, side)
    assert try_smaller_decoding(dataset, (64, 64), clock=dataset.clock) is None


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_where_the_values_are_the_same_nothing_is_gained_however_lucky_the_clock(tmp_path, suffix):
    lucky = accumulate(cycle([0, 2, 0, 1]))  # what is tried second always takes half the time
    assert try_smaller_decoding(Files(tmp_path, suffix, 96), (64, 64), clock=lambda: next(lucky)) is None


def test_a_size_is_wanted_only_where_images_are_halved_before_they_are_tensors():
    image = Image.new("RGB", (100, 100))
    assert size_wanted([T.Resize(51)], image) is None
    assert size_wanted([T.RandomHorizontalFlip(), T.Resize(50)], image) == (50, 50)
    assert size_wanted([T.ToTensor(), T.Resize(20)], image) is None
    assert size_wanted([T.CenterCrop(40)], image) is None
    assert size_wanted([T.RandomCrop(40), T.Resize(20)], image) is None


def test_drafting_ends(tmp_path):
    before = Image.open
    with pytest.raises(ZeroDivisionError), drafting((8, 8)):
        1 / 0  # noqa: B018
    assert Image.open is before
