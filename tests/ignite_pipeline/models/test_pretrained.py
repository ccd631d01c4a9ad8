"""Classifiers of torchvision: their heads, weights from a cache or a download, and images of their size."""

import hashlib

import pytest
import torch
import torchvision

from ignite_pipeline.data.preprocessing import Preprocessing
from ignite_pipeline.errors import BadInput
from ignite_pipeline.models import pretrained
from ignite_pipeline.models.pretrained import (
    classifier_names,
    head_of,
    preprocessing_of,
    pretrained_classifier,
    require_image_size,
)
from tests.support.trained_elsewhere import assert_loaded, trained_elsewhere


@pytest.mark.slow
@pytest.mark.parametrize("name", classifier_names())
def test_the_head_of_every_classifier_is_found(name):
    head = head_of(name)
    shapes = {entry: tuple(p.shape) for entry, p in pretrained._sketch(name, 7).named_parameters()}
    assert list(head) == list(shapes)[-len(head) :]
    assert {shapes[entry][0] for entry in head} == {7}


@pytest.mark.parametrize(
    "name",
    ["squeezenet1_1", "googlenet", "inception_v3", "mobilenet_v3_small", "regnet_x_400mf", "densenet121"],
)
def test_a_classifier_returns_logits_in_training_too(name):
    model = pretrained_classifier(name, 3, weights="none").train()
    x = torch.randn(2, 3, 96, 96)
    assert model(x).shape == (2, 3)
    assert model.eval()(x).shape == (2, 3)


def test_to_find_the_head_draws_nothing():
    before = torch.get_rng_state()
    head_of.__wrapped__("swin_t")
    head_of.__wrapped__("vit_b_32")
    assert torch.equal(torch.get_rng_state(), before)


def test_default_weights_are_those_in_torch_s_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    state = trained_elsewhere("resnet18").state_dict()
    torch.save(state, cache / torchvision.models.ResNet18_Weights.DEFAULT.url.rpartition("/")[2])
    models = []
    for _ in range(2):
        torch.manual_seed(0)
        models.append(pretrained_classifier("resnet18", 1000))
    assert_loaded(models[0], state, "resnet18")
    assert not torch.equal(models[0].fc.weight, state["fc.weight"])
    assert torch.equal(models[0].fc.weight, models[1].fc.weight)


def test_a_name_that_is_none_is_answered_with_near_ones():
    for call in (lambda name: pretrained_classifier(name, 2), head_of, preprocessing_of):
        with pytest.raises(BadInput, match=r"--model resnet81: no classifier of torchvision; .*resnet18"):
            call("resnet81")
    with pytest.raises(BadInput, match="try resnet18, convnext_tiny"):
        head_of("fasterrcnn")
    with pytest.raises(ValueError, match="num_outputs must be at least 1, got 0"):
        pretrained_classifier("resnet18", 0)


def test_without_a_network_the_message_says_where_to_put_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(pretrained, "_url_of", lambda name: "http://127.0.0.1:1/resnet18-f37072fd.pth")
    place = tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    match = f"http://.*{place.name} could not be downloaded to {place} .*refused.*--weights FILE"
    with pytest.raises(BadInput, match=match):
        pretrained_classifier("resnet18", 2)


def test_where_nothing_can_be_written_the_message_says_so(tmp_path, monkeypatch):
    (tmp_path / "hub").touch()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(BadInput, match=r"could not be downloaded to .*(exists|directory).*--weights none"):
        pretrained_classifier("resnet18", 2)


@pytest.mark.parametrize("whole", [True, False])
def test_a_download_counts_once_it_has_the_digest_of_its_name(whole, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    state = trained_elsewhere().state_dict()
    torch.save(state, tmp_path / "weights.pth")
    digest = hashlib.sha256((tmp_path / "weights.pth").read_bytes()).hexdigest()[:8]
    there = (tmp_path / "weights.pth").rename(tmp_path / f"net-{digest if whole else '0' * 8}.pth")
    monkeypatch.setattr(pretrained, "_url_of", lambda name: there.as_uri())
    if whole:
        assert_loaded(pretrained_classifier("squeezenet1_1", 2), state, "squeezenet1_1")
        there.unlink()
        assert_loaded(pretrained_classifier("squeezenet1_1", 2), state, "squeezenet1_1")
    else:
        with pytest.raises(BadInput, match=r"could not be downloaded to .* \(invalid hash value"):
            pretrained_classifier("squeezenet1_1", 2)
        assert not list((tmp_path / "home" / "hub" / "checkpoints").iterdir())


def test_preprocessing_is_that_of_the_default_weights():
    half = (0.5, 0.5, 0.5)
    assert preprocessing_of("efficientnet_v2_l") == Preprocessing(480, 480, half, half)
    assert preprocessing_of("vit_h_14").image_size == 518


@pytest.mark.parametrize(
    ("name", "fit", "misfit"),
    [
        ("resnet18", [32, 97, 224], []),
        ("alexnet", [64, 224], [32]),
        ("inception_v3", [97, 299], [64]),
        ("vit_b_32", [224], [223, 256]),
        ("vit_h_14", [518], [224]),
        ("maxvit_t", [224], [192]),
        ("swin_t", [96, 224], []),
    ],
)
def test_a_size_that_a_model_does_not_take_is_refused(name, fit, misfit):
    for size in fit:
        require_image_size(name, size)
    for size in misfit:
        with pytest.raises(
            BadInput, match=f"--image-size {size}: {name} takes no such images; .*-size {fit[-1]}"
        ):
            require_image_size(name, size)
