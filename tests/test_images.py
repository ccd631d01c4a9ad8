import pytest
import torch
from PIL import Image

from ignite_pipeline.data.images import ImageTensors, decode_images


def test_a_batch_is_the_samples_stacked():
    dataset = ImageTensors(torch.randint(256, (9, 3, 4, 4), dtype=torch.uint8), torch.arange(9))
    x, y = dataset.__getitems__([3, 3, 8])
    for row, index in enumerate([3, 3, 8]):
        assert torch.equal(x[row], dataset[index][0])
        assert y[row] == dataset[index][1]


def test_statistics_equal_those_of_all_pixels():
    images = torch.randint(256, (30, 3, 7, 5), dtype=torch.uint8)
    mean, std = ImageTensors(images, torch.zeros(30)).channel_statistics()
    pixels = images.double() / 255
    torch.testing.assert_close(mean, pixels.mean((0, 2, 3)).float())
    torch.testing.assert_close(std, pixels.std((0, 2, 3), correction=0).float())


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "CMYK", "1"])
def test_images_of_every_mode_become_rgb(tmp_path, mode):
    path = tmp_path / ("image.tif" if mode == "CMYK" else "image.png")
    Image.new("RGB", (6, 5), (255, 255, 255)).convert(mode).save(path)
    decoded = decode_images([path], lambda image: image)
    assert decoded.shape == (1, 3, 5, 6)
    assert (decoded == 255).all()


@pytest.mark.parametrize("damage", [b"", b"not an image", "cut"])
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_damaged_file_is_named(tmp_path, damage, suffix):
    good, bad = tmp_path / f"good{suffix}", tmp_path / f"bad{suffix}"
    Image.effect_noise((64, 64), 50).convert("RGB").save(good)
    bad.write_bytes(good.read_bytes()[:600] if damage == "cut" else damage)
    with pytest.raises(ValueError, match=f"bad{suffix}: not a readable image .* mend or remove it"):
        decode_images([good, bad], lambda image: image)


def test_images_must_be_uint8_and_as_many_as_targets():
    with pytest.raises(TypeError, match="images must be uint8"):
        ImageTensors(torch.zeros(2, 3, 4, 4), torch.zeros(2))
    with pytest.raises(ValueError, match="got 2 and 3"):
        ImageTensors(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(3))
