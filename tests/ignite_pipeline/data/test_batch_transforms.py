import numpy as np
import pytest
import torch

from ignite_pipeline.data.batch_transforms import Normalize, RandomCrop


def pictures(count=40, side=8):
    """Images in which every pixel of an image is another value."""
    return torch.arange(3 * side * side).view(3, side, side).to(torch.uint8).expand(count, -1, -1, -1)


def test_every_crop_is_a_window_of_the_image_padded_by_reflection():
    x, p = pictures(), 3
    padded = np.pad(x[0].numpy(), ((0, 0), (p, p), (p, p)), mode="reflect")
    places = [(top, left) for top in range(2 * p + 1) for left in range(2 * p + 1)]
    windows = {padded[:, top : top + 8, left : left + 8].tobytes(): (top, left) for top, left in places}
    torch.manual_seed(0)
    found = {windows[image.numpy().tobytes()] for image in RandomCrop(p)(pictures(2000))}
    assert found == set(places)


def test_a_crop_without_padding_is_the_image():
    assert torch.equal(RandomCrop(0)(pictures()), pictures())


def test_smaller_windows_come_from_everywhere():
    x = pictures(2000)
    places = {(top, left): x[0, :, top : top + 6, left : left + 6] for top in range(3) for left in range(3)}
    torch.manual_seed(0)
    windows = {window.numpy().tobytes() for window in RandomCrop(0, size=6)(x)}
    assert windows == {place.contiguous().numpy().tobytes() for place in places.values()}


def test_images_of_unequal_sides_keep_their_shape():
    x = torch.randint(256, (5, 1, 6, 11), dtype=torch.uint8)
    assert RandomCrop(2)(x).shape == x.shape


@pytest.mark.parametrize(("p", "mirrored"), [(0.0, 0), (1.0, 1000), (0.5, 500)])
def test_flip_mirrors_that_share_of_the_images(p, mirrored):
    torch.manual_seed(0)
    x = pictures(1000)
    y = RandomCrop(0, flip=p)(x)
    same, flipped = (y == x).all((1, 2, 3)), (y == x.flip(3)).all((1, 2, 3))
    assert (same ^ flipped).all()
    assert abs(flipped.sum().item() - mirrored) <= (50 if 0 < p < 1 else 0)


def test_places_and_mirroring_are_drawn_apart():
    torch.manual_seed(0)
    x = pictures(4000)
    places = {
        (left, flip): image for left in range(3) for flip, image in _both(x[0, :, 1:7, left : left + 6])
    }
    windows = [window.numpy().tobytes() for window in RandomCrop(0, size=6, flip=0.5)(x)]
    counts = [windows.count(image) for image in places.values()]
    assert all(abs(count - 4000 / 18) < 60 for count in counts)


def _both(window):
    return enumerate(side.contiguous().numpy().tobytes() for side in (window, window.flip(2)))


def test_augmentation_keeps_uint8():
    assert RandomCrop(1, flip=0.5)(pictures()).dtype == torch.uint8


def test_normalize_gives_mean_zero_and_deviation_one():
    x = torch.randint(256, (50, 3, 9, 9), dtype=torch.uint8)
    mean, std = (x / 255).mean((0, 2, 3)), (x / 255).std((0, 2, 3), correction=0)
    y = Normalize(mean, std)(x)
    torch.testing.assert_close(y.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.std((0, 2, 3), correction=0), torch.ones(3))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomCrop(-1), "padding must not be negative, got -1"),
        (lambda: RandomCrop(8)(pictures()), "padding=8 must be less than the image's side, 8"),
        (lambda: RandomCrop(1, size=11)(pictures()), "size=11 must be at most the padded side, 10"),
        (lambda: RandomCrop(1, flip=1.5), r"flip must be in \[0, 1\], got 1.5"),
        (lambda: Normalize([0.5], [0.0]), "std must be positive"),
    ],
)
def test_a_bad_argument_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
