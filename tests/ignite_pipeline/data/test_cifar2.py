import errno
import hashlib
import os
import pickle
from http.client import BadStatusLine
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import CIFAR10

from ignite_pipeline.data.cifar2 import cifar2
from ignite_pipeline.data.generated import draw_airplanes_and_birds
from ignite_pipeline.errors import BadInput
from tests.support.drawn import write_tree

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


@pytest.fixture
def cifar10_root(tmp_path, monkeypatch):
    """A small CIFAR-10 in the very files of torchvision, whose digests are given to it."""
    folder = tmp_path / CIFAR10.base_folder
    folder.mkdir()

    def write(name, content):
        data = pickle.dumps(content)
        (folder / name).write_bytes(data)
        return [name, hashlib.md5(data).hexdigest()]

    rng = np.random.default_rng(0)

    def batch():
        return {
            "data": rng.integers(0, 256, (20, 3072), dtype=np.uint8),
            "labels": [i % 10 for i in range(20)],
        }

    meta_name, meta_digest = write("batches.meta", {"label_names": CLASSES})
    monkeypatch.setattr(CIFAR10, "train_list", [write(f"data_batch_{i}", batch()) for i in range(1, 6)])
    monkeypatch.setattr(CIFAR10, "test_list", [write("test_batch", batch())])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "filename": meta_name, "md5": meta_digest})
    return tmp_path


@pytest.fixture
def no_network(monkeypatch):
    """Nobody listens on the discard port: a real refusal, at once."""
    monkeypatch.setattr(CIFAR10, "url", "http://127.0.0.1:9/cifar-10-python.tar.gz")


@pytest.mark.parametrize("dataset", ["auto", "cifar10"])
def test_classes_of_torchvisions_files_are_numbered_as_they_are_named(cifar10_root, dataset):
    data = cifar2(cifar10_root, classes=["bird", "airplane", "truck"], dataset=dataset)
    whole = CIFAR10(cifar10_root, train=True)
    assert (data.name, len(data.train), len(data.val)) == ("cifar10", 30, 6)
    expected = [
        (i, ["bird", "airplane", "truck"].index(CLASSES[t]))
        for i, t in enumerate(whole.targets)
        if t in (0, 2, 9)
    ]
    for (image, target), (index, number) in zip(data.train, expected, strict=True):
        assert target == number
        np.testing.assert_array_equal(image.permute(1, 2, 0), whole.data[index])


def test_a_damaged_cifar10_is_refused_even_by_auto(cifar10_root):
    (cifar10_root / CIFAR10.base_folder / "data_batch_3").write_bytes(b"")
    with pytest.raises(ValueError, match="CIFAR-10 is missing or damaged"):
        cifar2(cifar10_root)


def test_files_of_cifar10_that_cannot_be_read_are_named(cifar10_root, monkeypatch):
    def refuse(*args, **options):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "data_batch_1")

    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", refuse)
    with pytest.raises(BadInput, match=r"data_batch_1: cannot be read \(Permission denied\)"):
        cifar2(cifar10_root)


def test_a_proxy_that_speaks_otherwise_is_no_network(tmp_path, monkeypatch):
    def answer(request, timeout):
        raise BadStatusLine("SSH-2.0")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("urllib.request.urlopen", answer)
    assert "could not be downloaded to data (SSH-2.0)" in cifar2().notice


@pytest.mark.parametrize("val", ["val", "test"])
@pytest.mark.parametrize("dataset", ["auto", "folder"])
def test_a_folder_tree_is_read(tmp_path, val, dataset):
    data = cifar2(write_tree(tmp_path, {"train": 3, val: 2}), classes=["bird", "airplane"], dataset=dataset)
    assert (data.name, len(data.train), len(data.val), data.notice) == ("folder", 6, 4, None)
    assert data.train.targets.tolist() == [0, 0, 0, 1, 1, 1]
    drawn = draw_airplanes_and_birds(6, seed=0)
    assert torch.equal(data.train.images, drawn.images[[1, 3, 5, 0, 2, 4]])


def test_images_of_other_sizes_are_scaled_and_counted(tmp_path):
    root = write_tree(tmp_path, {"train": 3, "val": 2})
    Image.new("RGB", (64, 48), (255, 0, 0)).save(root / "train" / "bird" / "001.png")
    data = cifar2(root)
    assert data.train.images.shape == (6, 3, 32, 32)
    assert data.notice == "1 images were not 32x32: scaled and cut to that"
    assert (data.train.images[data.train.targets == 1][0][0] == 255).all()


def test_files_that_are_no_images_are_left_out(tmp_path):
    root = write_tree(tmp_path, {"train": 2, "val": 2})
    (root / "train" / "bird" / "Thumbs.db").write_bytes(b"x")
    assert len(cifar2(root).train) == 4


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_called_like_an_image_and_is_no_file_is_named_and_left_out(tmp_path, capsys, make):
    write_tree(tmp_path, {"train": 4, "val": 2})
    make(tmp_path / "train" / "bird" / "odd.jpg")
    assert len(cifar2(tmp_path).train) == 8
    assert (
        f"{tmp_path / 'train' / 'bird' / 'odd.jpg'}: not a regular file, left out" in capsys.readouterr().err
    )


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_class_without_a_readable_image_is_refused(tmp_path, split):
    write_tree(tmp_path, {"train": 4, "val": 2})
    for path in (tmp_path / split / "bird").iterdir():
        path.write_bytes(b"rotten")
    with pytest.raises(
        BadInput, match=rf"{split}/bird: no image of the class can be read \(.*not a readable"
    ):
        cifar2(tmp_path, skip_bad=True)


def test_a_fifo_among_torchvisions_files_is_refused(cifar10_root):
    batch = cifar10_root / "cifar-10-batches-py" / "data_batch_1"
    batch.unlink()
    os.mkfifo(batch)
    with pytest.raises(BadInput, match="data_batch_1: not a regular file"):
        cifar2(cifar10_root)


def test_without_a_network_auto_draws_and_says_so(tmp_path, monkeypatch, no_network):
    monkeypatch.chdir(tmp_path)
    data = cifar2()
    assert data.name == "generated"
    assert "could not be downloaded" in data.notice
    assert "GENERATED drawings, not on real images" in data.notice


def test_cifar10_is_strict(tmp_path, monkeypatch, no_network):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match=r"CIFAR-10 could not be downloaded to data \(.*refused"):
        cifar2(dataset="cifar10")
    with pytest.raises(BadInput, match="CIFAR-10 could not be downloaded"):
        cifar2(classes=["cat", "dog"])  # nobody draws these
    Path("data", CIFAR10.base_folder).mkdir(parents=True)
    with pytest.raises(BadInput, match="CIFAR-10 could not be downloaded"):
        cifar2()  # a damaged one was meant
    with pytest.raises(ValueError, match="CIFAR-10 is missing or damaged"):
        cifar2(tmp_path, dataset="cifar10")


class AnswersWithGarbage(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.send_response(200)
        self.end_headers()

    def do_GET(self):
        self.do_HEAD()
        self.wfile.write(b"garbage")

    def log_message(self, *words):
        pass


def test_a_download_that_fails_half_way_is_no_download(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with HTTPServer(("127.0.0.1", 0), AnswersWithGarbage) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(CIFAR10, "url", f"http://127.0.0.1:{server.server_port}/cifar-10-python.tar.gz")
        with pytest.raises(BadInput, match="CIFAR-10 could not be downloaded"):
            cifar2(dataset="cifar10")
        assert cifar2().name == "generated"
        server.shutdown()


def test_drawings_depend_on_seed_and_index_alone():
    assert torch.equal(
        draw_airplanes_and_birds(8, seed=2).images[:4], draw_airplanes_and_birds(4, seed=2).images
    )
    assert not torch.equal(
        draw_airplanes_and_birds(4, seed=1).images, draw_airplanes_and_birds(4, seed=2).images
    )


def test_drawings_follow_the_order_of_the_classes():
    data = cifar2(dataset="generated", classes=["bird", "airplane"])
    assert data.train[0][1] == 1
    assert torch.equal(data.train[0][0], draw_airplanes_and_birds(1, seed=0)[0][0])


@pytest.mark.parametrize(
    ("prepare", "options", "message"),
    [
        (None, {}, "holds neither cifar-10-batches-py/ .* nor train/<class>/"),
        (None, {"dataset": "folder"}, "a folder tree needs train/<class>/ and val/<class>/"),
        (None, {"dataset": "imagenet"}, "dataset must be auto, cifar10, folder or generated, got 'imagenet'"),
        (None, {"classes": ["bird"]}, "classes must name at least two, got bird"),
        (None, {"classes": ["bird", "bird"]}, "classes must differ"),
        ({"train": 2}, {}, "a folder tree needs train/<class>/ and val/<class>/"),
        ({"train": 2, "val": 2}, {"classes": ["bird", "cat"]}, "no class cat; there are airplane, bird"),
        (
            None,
            {"classes": ["cat", "dog"], "dataset": "generated"},
            "no class cat, dog; there are airplane, bird",
        ),
    ],
)
def test_what_is_not_there_is_named(tmp_path, prepare, options, message):
    write_tree(tmp_path, prepare or {})
    with pytest.raises(ValueError, match=message):
        cifar2(tmp_path, **options)


def test_a_missing_root_and_an_empty_class_are_named(tmp_path):
    with pytest.raises(ValueError, match="nowhere: no such folder"):
        cifar2(tmp_path / "nowhere")
    root = write_tree(tmp_path, {"train": 2, "val": 2})
    for path in (root / "val" / "bird").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match="bird: holds no image"):
        cifar2(root)


def test_the_real_images_load_whole(real_cifar2):
    data = cifar2(real_cifar2)
    assert (len(data.train), len(data.val), data.notice) == (10_000, 1_000, None)
    mean, std = data.train.channel_statistics()
    torch.testing.assert_close(mean, (data.train.images / 255).mean((0, 2, 3)), atol=1e-4, rtol=0)
    assert ((std > 0.2) & (std < 0.3)).all()
