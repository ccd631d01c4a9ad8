"""Data sets of others, with random access: the same weights through a kill, with any workers."""

import functools
import io
import random
import shutil
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import datasets
import numpy as np
import pytest
import torch
from array_record.python.array_record_data_source import ArrayRecordDataSource
from array_record.python.array_record_module import ArrayRecordWriter
from ignite.engine import Engine
from PIL import Image
from torch import nn
from torch.utils.data import Dataset, default_collate
from torchvision.transforms import v2

from handlers import StepMeans, load_newest, model_sha256, read_config
from ignite_pipeline.data.loading import endless_loader
from ignite_pipeline.steps import supervised_step
from tests.support.killing import run_recipe

pytestmark = pytest.mark.slow

SIZE, SIDE, CLASSES, BATCH, EPOCHS = 46, 8, 3, 4, 3
PER_EPOCH = SIZE // BATCH
KILL_AT = PER_EPOCH + 5
WORKERS = (0, 1, 3)
TRANSFORM = v2.Compose([v2.RandomCrop(SIDE, padding=2), v2.RandomHorizontalFlip()])
MIX_UP = v2.MixUp(num_classes=CLASSES)


def augmented(image):
    """Return a tensor (3, 8, 8) that has drawn from torch, random and numpy.random."""
    tensor = TRANSFORM(torch.from_numpy(np.array(image)).permute(2, 0, 1)) / 255
    return tensor * random.uniform(0.5, 1.5) + torch.from_numpy(np.random.randn(SIDE, SIDE)).float()


def augmented_columns(columns):
    return {"x": [augmented(image) for image in columns["image"]], "y": columns["label"]}


def as_pair(samples):
    batch = default_collate(samples)
    return batch["x"], batch["y"]


def mixed_up(samples):
    batch = default_collate(samples)
    return MIX_UP(batch["pixels"].float() / 255, batch["label"])


class Records(Dataset):
    """Pictures in ArrayRecord files, decoded and augmented one by one."""

    def __init__(self, root):
        self.records = in_records(root)

    def __len__(self):
        return len(self.records)

    def __getitem__(self, index):
        with Image.open(io.BytesIO(self.records[index])) as image:
            return augmented(image), index % CLASSES


def decoded_together(records):
    images = torch.stack([augmented(Image.open(io.BytesIO(record))) for record in records])
    return images, torch.tensor([len(record) % CLASSES for record in records])


def arrow(root):
    return datasets.load_from_disk(root / "arrow")


def record_files(root):
    return [str(root / f"{shard}.array_record") for shard in range(2)]


def in_records(root):
    return ArrayRecordDataSource(record_files(root))


def transformed(root):
    return arrow(root).shuffle(seed=1).select(range(SIZE - 1)).with_transform(augmented_columns)


def in_torchs_format(root):
    return arrow(root).with_format("torch", ["pixels", "label"])


# What is read, what joins its samples, and how workers are started: array_record has threads as soon as it is
# made, which a fork loses.
DATA = {
    "datasets, with_transform": (transformed, as_pair, "fork"),
    "datasets, in torch's format": (in_torchs_format, mixed_up, "fork"),
    "array_record, in a data set of one's own": (Records, default_collate, "forkserver"),
    "array_record, as it is": (in_records, decoded_together, "forkserver"),
}


def write(root):
    """Write the same pictures as an Arrow table and as shards of records."""
    pixels = np.random.default_rng(0).integers(0, 256, (SIZE, SIDE, SIDE, 3), dtype=np.uint8)
    features = datasets.Features(
        image=datasets.Image(),
        pixels=datasets.Array3D((3, SIDE, SIDE), "uint8"),
        label=datasets.ClassLabel(CLASSES),
    )
    table = datasets.Dataset.from_dict(
        {
            "image": [Image.fromarray(one) for one in pixels],
            "pixels": list(pixels.transpose(0, 3, 1, 2)),
            "label": [number % CLASSES for number in range(SIZE)],
        },
        features,
    )
    table.save_to_disk(root / "arrow", num_shards=2)
    for path, part in zip(record_files(root), np.array_split(pixels, 2), strict=True):
        writer = ArrayRecordWriter(path, "group_size:1")
        for one in part:
            file = io.BytesIO()
            Image.fromarray(one).save(file, "png")
            writer.write(file.getvalue())
        writer.close()


def network():
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE**2, CLASSES))


def train(run, root, data):
    make, collate_fn, method = DATA[data]
    loader = run.train_loader(
        make(root), batch_size=BATCH, collate_fn=collate_fn, multiprocessing_context=method
    )
    model = run.place(network())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    trainer = Engine(supervised_step(model, optimizer, nn.CrossEntropyLoss(), compute=run.compute))
    run.attach(trainer, measure=[StepMeans(every_iters=5)], save={"model": model, "optimizer": optimizer})
    run.train(trainer, loader, epochs=EPOCHS)


def outcome(directory):
    """Return how many iterations a run has made, its notices, and a digest of its weights."""
    newest = load_newest(directory / "checkpoints")
    model = network()
    model.load_state_dict(newest["objects"]["model"])
    notices = read_config(directory).get("notices", [])
    return newest["engine"]["iteration"], notices, model_sha256(model)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp("written")
    write(root)
    return root


@pytest.fixture(scope="module")
def outcomes(written, tmp_path_factory):
    """What became of runs that were killed and resumed, by data and workers; of whole runs by None."""
    directories = tmp_path_factory.mktemp("runs")

    def run(data):
        place = directories / str(list(DATA).index(data))
        place.mkdir()
        recipe = functools.partial(train, root=written, data=data)
        run_recipe(recipe, place / "whole")
        run_recipe(recipe, place / "killed", kill_at=KILL_AT)
        found = {(data, None): outcome(place / "whole")}
        for count in WORKERS:
            shutil.copytree(place / "killed", place / str(count))
            run_recipe(recipe, place / str(count), "--num-workers", count)
            found[data, count] = outcome(place / str(count))
        return found

    with ThreadPoolExecutor(2) as pool:
        return {key: found for part in pool.map(run, DATA) for key, found in part.items()}


@pytest.mark.parametrize("count", WORKERS)
@pytest.mark.parametrize("data", DATA)
def test_weights_are_the_same_after_a_kill_with_any_workers(outcomes, data, count):
    iterations, notices, digest = outcomes[data, None]
    assert (iterations, notices) == (EPOCHS * PER_EPOCH, [])
    assert outcomes[data, count] == (iterations, notices, digest)


def test_the_weights_tell_data_apart(outcomes):
    digests = {digest for _, _, digest in (outcomes[data, None] for data in DATA)}
    assert len(digests) == len(DATA)


@pytest.mark.parametrize("data", DATA)
def test_workers_read_the_same_beside_a_process_that_has_read(written, data):
    make, collate_fn, method = DATA[data]
    dataset = make(written)

    def batches(num_workers):
        loader = endless_loader(
            dataset,
            batch_size=BATCH,
            seed=0,
            collate_fn=collate_fn,
            num_workers=num_workers,
            multiprocessing_context=method,
        )
        return [x for x, _ in islice(loader, PER_EPOCH)]

    read_here = batches(0)
    assert all(map(torch.equal, read_here, batches(2)))


def test_a_stream_is_refused(written):
    with pytest.raises(TypeError, match=r"Hugging Face datasets \(not streaming\)"):
        endless_loader(arrow(written).to_iterable_dataset(), batch_size=2, seed=0)
