"""A model that was exported predicts as it did: as a program, as ONNX, and from its plain weights."""

import json

import numpy as np
import onnx
import pytest
import torch
import torchvision
from onnx.reference import ReferenceEvaluator
from torch import nn

from ignite_pipeline.data.preprocessing import Preprocessing
from ignite_pipeline.errors import BadInput
from ignite_pipeline.models.catalogue import build_model
from ignite_pipeline.predict.export import export_model
from ignite_pipeline.predict.trained_models import load_trained
from ignite_pipeline.predictor import Predictor
from ignite_pipeline.signature import Signature

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
MODELS = [
    ("classifiers/resnet", {"num_classes": 3}, 32),
    ("classifiers/conv", {"num_classes": 3}, 32),
    ("classifiers/fully-connected", {"num_classes": 3}, 32),
    ("torchvision/squeezenet1_1", {"num_outputs": 3}, 48),
]


def images(count, side):
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8)


def build(name, arguments, side, **options):
    torch.manual_seed(0)
    model = build_model(name, arguments)
    signature = Signature(
        options.pop("kind", "classes"),
        Preprocessing(side, side, MEAN, STD),
        outputs=options.pop("outputs", ("a", "b", "c")),
        model=name,
        arguments=arguments,
        **options,
    )
    return model, signature


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize(("name", "arguments", "side"), MODELS)
def test_a_program_gives_the_same_probabilities_for_any_number_of_images(
    name, arguments, side, mirror, tmp_path
):
    model, signature = build(name, arguments, side, mirror=mirror)
    model.to(memory_format=torch.channels_last)
    export_model(model, signature, tmp_path / "model.pt2")
    program = load_trained(tmp_path / "model.pt2", device="cpu")
    predictor = Predictor(model, signature)
    for count in (1, 5):
        x = images(count, side)
        with predictor.inferring():
            torch.testing.assert_close(program.predict(x), predictor(x), rtol=0, atol=1e-5)
    assert program.signature == signature
    assert model.training  # exporting changes nothing


@pytest.mark.parametrize("side", [32, 64])  # without dropout, and with it
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_a_generator_s_program_draws_what_the_generator_draws(mode, side, tmp_path):
    arguments = {"image_size": side, "norm": "batch"}
    model, signature = build(
        "pix2pix/generator", arguments, side, kind="image", outputs=("A",), weights="generator", mode=mode
    )
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    export_model(model, signature, tmp_path / "model.pt2")
    program, predictor, x = load_trained(tmp_path / "model.pt2"), Predictor(model, signature), images(1, side)
    for _ in range(2):
        torch.manual_seed(3)
        found = program.predict(x)
        torch.manual_seed(3)
        with predictor.inferring():
            torch.testing.assert_close(found, predictor(x), rtol=0, atol=1e-5)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)


def run_onnx(path, x):
    (found,) = ReferenceEvaluator(onnx.load(path)).run(None, {"images": x.numpy()})
    return found


def test_onnx_gives_the_same_probabilities_and_holds_the_signature(tmp_path):
    model, signature = build("classifiers/conv", {"num_classes": 3}, 32, mirror=True)
    export_model(model, signature, tmp_path / "model.onnx")
    held = {entry.key: entry.value for entry in onnx.load(tmp_path / "model.onnx").metadata_props}
    assert Signature.from_json(json.loads(held["signature.json"])) == signature
    x, predictor = images(4, 32), Predictor(model, signature)
    with predictor.inferring():
        np.testing.assert_allclose(run_onnx(tmp_path / "model.onnx", x), predictor(x).numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("norm", "mode"),
    [
        ("batch", "train"),
        pytest.param(
            "batch",
            "eval",
            marks=pytest.mark.skipif(
                torch.__version__ < (2, 7),
                reason="torch 2.6 exports no batch norm with running statistics to ONNX",
            ),
        ),
        ("instance", "train"),
    ],
)
def test_a_generator_s_onnx_draws_what_the_generator_draws(norm, mode, tmp_path):
    arguments = {"image_size": 32, "norm": norm, "width": 8}  # which has no dropout
    model, signature = build("pix2pix/generator", arguments, 32, kind="image", outputs=("A",), mode=mode)
    export_model(model, signature, tmp_path / "model.onnx")
    x, predictor = images(1, 32), Predictor(model, signature)
    with predictor.inferring():
        np.testing.assert_allclose(run_onnx(tmp_path / "model.onnx", x), predictor(x).numpy(), atol=1e-5)


def test_plain_weights_load_in_plain_pytorch(tmp_path):
    model, signature = build("torchvision/squeezenet1_1", {"num_outputs": 3}, 48)
    export_model(model, signature, tmp_path / "weights.pt")
    plain = torchvision.models.squeezenet1_1(num_classes=3)
    plain.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    torch.testing.assert_close(plain.state_dict(), model.state_dict(), rtol=0, atol=0)
    assert Signature.from_json(json.loads((tmp_path / "weights.json").read_text())) == signature


class Undecided(nn.Module):
    def forward(self, x):
        return x.mean((2, 3)) if x.sum() > 0 else x.amax((2, 3))


def test_a_model_that_cannot_be_traced_is_named(tmp_path):
    signature = Signature("classes", Preprocessing(8, 8, MEAN, STD), outputs=("a", "b", "c"))
    with pytest.raises(BadInput, match="Undecided cannot be exported"):
        export_model(Undecided(), signature, tmp_path / "model.pt2")
    assert not list(tmp_path.iterdir())


class SingularValues(nn.Module):
    def forward(self, x):
        return torch.linalg.svdvals(x.mean(1))


@pytest.mark.parametrize(
    ("model", "line"),
    [
        (SingularValues(), "SingularValues cannot be exported to ONNX .*linalg_svd"),
        (
            nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False), nn.AvgPool2d(8), nn.Flatten()),
            "write a .pt2",
        ),
    ],
)
def test_what_onnx_cannot_hold_is_one_line(model, line, tmp_path):
    names = tuple("abcdefgh") if isinstance(model, SingularValues) else ("a", "b", "c")
    signature = Signature("numbers", Preprocessing(8, 8, MEAN, STD), outputs=names)
    with pytest.raises(BadInput, match=line):
        export_model(model, signature, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())
