import os

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from ignite_pipeline.data.image_files import UnreadableImage, image_files, read_image
from ignite_pipeline.data.images import stack_images


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "CMYK", "1"])
def test_images_of_every_mode_become_rgb(tmp_path, mode):
    path = tmp_path / ("image.tif" if mode == "CMYK" else "image.png")
    Image.new("RGB", (6, 5), (255, 255, 255)).convert(mode).save(path)
    decoded = stack_images([path], read_image)
    assert decoded.shape == (1, 3, 5, 6)
    assert (decoded == 255).all()


def test_a_rotated_photograph_stands_upright(tmp_path):
    pixels = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    exif = Image.Exif()
    for orientation, seen in {1: pixels, 3: pixels[::-1, ::-1], 6: np.rot90(pixels, -1)}.items():
        exif[ExifTags.Base.Orientation] = orientation
        Image.fromarray(pixels).save(tmp_path / "image.png", exif=exif)
        assert np.array_equal(np.asarray(read_image(tmp_path / "image.png")), seen)


@pytest.mark.parametrize("orientation", range(10))
def test_it_is_turned_as_pillow_turns_it(tmp_path, orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.effect_noise((6, 4), 90).save(tmp_path / "image.png", exif=exif)
    with Image.open(tmp_path / "image.png") as image:
        wanted = ImageOps.exif_transpose(image).convert("RGB")
    assert np.array_equal(np.asarray(read_image(tmp_path / "image.png")), np.asarray(wanted))


def test_exif_data_that_nobody_can_read_do_not_make_an_image_unreadable(tmp_path):
    for name in ("image.png", "image.jpg"):
        Image.new("RGB", (3, 2), "red").save(tmp_path / name, exif=b"Exif\0\0no TIFF header")
        assert read_image(tmp_path / name).size == (3, 2)


def test_hidden_files_are_no_images(tmp_path):
    for name in ("a.png", "._a.png", ".trashed.png"):
        Image.new("L", (2, 2)).save(tmp_path / name)
    assert image_files(tmp_path) == [tmp_path / "a.png"]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB with a transparent colour", "L with one"])
def test_what_is_transparent_is_laid_on_white(tmp_path, mode):
    hidden = Image.new("RGBA", (2, 1), (50, 50, 50, 0))
    hidden.putpixel((1, 0), (20, 20, 20, 255))
    kind = mode.split()[0]
    options = {"transparency": 50 if kind == "L" else (50, 50, 50)} if "with" in mode else {}
    hidden.convert(kind).save(tmp_path / "image.png", **options)
    assert np.asarray(read_image(tmp_path / "image.png"))[0, :, 0].tolist() == [255, 20]


def test_half_transparent_pixels_are_mixed_with_white(tmp_path):
    Image.new("RGBA", (1, 1), (0, 0, 0, 128)).save(tmp_path / "image.png")
    assert read_image(tmp_path / "image.png").getpixel((0, 0)) == (127, 127, 127)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_sixteen_bits_become_eight(tmp_path, suffix):
    path = tmp_path / f"image{suffix}"
    pixels = np.array([[0, 128, 129, 32896, 65535]], dtype=np.uint16)
    if suffix == ".pgm":  # which older versions of Pillow read and do not write
        path.write_bytes(b"P5 5 1 65535\n" + pixels.astype(">u2").tobytes())
    else:
        Image.fromarray(pixels).save(path)
    decoded = np.asarray(read_image(path))
    assert decoded.shape == (1, 5, 3)
    assert decoded[0, :, 0].tolist() == [0, 0, 1, 128, 255]


@pytest.mark.parametrize("pixels", [np.zeros((2, 2), np.float32), np.full((2, 2), 200, np.int32)], ids=str)
def test_pixels_of_an_unknown_range_are_refused_by_name(tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "image.tif")
    with pytest.raises(ValueError, match=r"image.tif: .* unknown range, save it with 8 or 16 bits"):
        read_image(tmp_path / "image.tif")


@pytest.mark.parametrize("damage", [b"", b"not an image", "cut"])
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_damaged_file_is_named(tmp_path, damage, suffix):
    good, bad = tmp_path / f"good{suffix}", tmp_path / f"bad{suffix}"
    Image.effect_noise((64, 64), 50).convert("RGB").save(good)
    bad.write_bytes(good.read_bytes()[:600] if damage == "cut" else damage)
    with pytest.raises(ValueError, match=f"bad{suffix}: not a readable image .* replace or remove it"):
        stack_images([good, bad], read_image)


def test_what_is_no_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "odd.png")
    with pytest.raises(UnreadableImage, match=r"odd\.png: not a readable image \(not a regular file\)"):
        read_image(tmp_path / "odd.png")
