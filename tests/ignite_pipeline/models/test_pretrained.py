"""Classifiers of torchvision on weights from files: what is loaded, and what is refused."""

import hashlib
import pickle
import re

import pytest
import torch
import torchvision
from torch import nn

from handlers.checkpoint_files import save_sealed
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
from ignite_pipeline.models.weight_files import load_weights, read_state_dict


def trained_elsewhere(name="squeezenet1_1", **options):
    """A model of a thousand classes, all of whose entries are other than those of a new one."""
    model = torchvision.models.get_model(name, num_classes=1000, **options)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.add_(1)
    return model


def assert_loaded(model, state, name):
    """All but the head is that of the weights."""
    own = model.state_dict()
    body = [entry for entry in own if entry not in head_of(name)]
    assert body
    assert all(torch.equal(own[entry], state[entry]) for entry in body)


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


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_auxiliary_outputs_in_a_file_are_left_out(name, tmp_path):
    state = trained_elsewhere(name, aux_logits=True, init_weights=False).state_dict()
    torch.save(state, tmp_path / "weights.pth")
    model = pretrained_classifier(name, 2, weights=tmp_path / "weights.pth")
    assert_loaded(model, state, name)
    assert len(model.state_dict()) < len(state)


def with_old_names(state):
    for entry in list(state):
        old = re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)", r"\1.\2", entry)
        old = re.sub(r"mlp\.([03])\.", lambda found: f"mlp.linear_{int(found[1]) // 3 + 1}.", old)
        value = state.pop(entry)
        if not old.endswith("num_batches_tracked"):
            state[old] = value
    for versions in state._metadata.values():
        versions["version"] = 1
    return state


@pytest.mark.parametrize("name", ["densenet121", "vit_b_32", "mnasnet1_0", "resnet18"])
def test_names_and_gaps_of_old_files_are_understood(name):
    model = trained_elsewhere(name)
    for entry, buffer in model.named_buffers():
        if entry.endswith("num_batches_tracked"):
            buffer.zero_()  # what torch takes a missing one for
    old = with_old_names(model.state_dict())
    assert old.keys() != model.state_dict().keys()
    assert_loaded(pretrained_classifier(name, 2, weights=old), model.state_dict(), name)


def test_a_state_dict_that_has_lost_its_versions_will_do():
    state = dict(trained_elsewhere("mnasnet0_5").state_dict())
    assert_loaded(pretrained_classifier("mnasnet0_5", 2, weights=state), state, "mnasnet0_5")


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"epoch": 3, "state_dict": state},
        lambda state: {"model": state, "optimizer": {"state": {}, "param_groups": []}},
        lambda state: {"model_state_dict": state},
        lambda state: {"model": {f"module.{name}": value for name, value in state.items()}},
        lambda state: {f"_orig_mod.module.{name}": value for name, value in state.items()},
        lambda state: {name: value for name, value in state.items() if "classifier" not in name},
    ],
    ids=["plain", "state_dict", "model", "model_state_dict", "module.", "_orig_mod.", "no head"],
)
def test_a_state_dict_is_found_wherever_people_put_it(wrap, tmp_path):
    state = trained_elsewhere().state_dict()
    torch.save(wrap(state), tmp_path / "weights.pt")
    model = pretrained_classifier("squeezenet1_1", 2, weights=str(tmp_path / "weights.pt"))
    assert_loaded(model, state, "squeezenet1_1")


def test_a_checkpoint_of_a_run_will_do(tmp_path):
    state = trained_elsewhere().state_dict()
    content = {"engine": {"iteration": 1}, "objects": {"model": state, "optimizer": {}}, "config": {}}
    save_sealed(tmp_path / "checkpoint_00000001.pt", content)
    model = pretrained_classifier("squeezenet1_1", 2, weights=tmp_path / "checkpoint_00000001.pt")
    assert_loaded(model, state, "squeezenet1_1")


class RunsCode:
    def __reduce__(self):
        return pytest.fail, ("code in a file was run",)


def write_text(path):
    path.write_text("weights: none")


def write_half(path):
    torch.save(nn.Linear(9, 9).state_dict(), path)
    path.write_bytes(path.read_bytes()[:500])


def write_half_of_an_old_one(path):
    torch.save(nn.Linear(9, 9).state_dict(), path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:200])


def write_pickle(path):
    path.write_bytes(pickle.dumps(RunsCode(), protocol=2))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.mkdir(), "not a regular file"),
        (lambda path: path.touch(), "not a file that torch.save has written"),
        (write_text, "not a file that torch.save has written"),
        (write_half, "damaged, "),
        (write_half_of_an_old_one, "damaged, "),
        (write_pickle, "more than tensors, such as a whole model"),
        (lambda path: torch.save(RunsCode(), path), "more than tensors, such as a whole model"),
        (lambda path: torch.save(nn.Linear(1, 1), path), "more than tensors, such as a whole model"),
        (lambda path: torch.save({"epoch": 1, "loss": 0.5}, path), "holds no state dict, but epoch, loss"),
        (lambda path: torch.save({}, path), "holds no state dict, but nothing"),
        (lambda path: torch.save(torch.zeros(2), path), "holds no state dict, but a Tensor"),
    ],
)
def test_what_holds_no_weights_is_named_in_one_line(write, message, tmp_path):
    path = tmp_path / "weights.pt"
    write(path)
    with pytest.raises(BadInput, match=message) as raised:
        read_state_dict(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda state: state.update({"features.0.weight": torch.zeros(1, 3, 3, 3)}),
            r"1 entries have another shape, such as features\.0\.weight: \(1, 3, 3, 3\) instead of \(64, 3,",
        ),
        (lambda state: state.pop("features.0.bias"), r"1 entries are missing, such as features\.0\.bias"),
        (
            lambda state: state.update({"extra": torch.zeros(1), "more": torch.zeros(1)}),
            "2 entries are not in it, such as extra",
        ),
    ],
)
def test_weights_of_another_model_are_refused_with_an_example(change, message):
    state = trained_elsewhere().state_dict()
    change(state)
    model = pretrained_classifier("squeezenet1_1", 2, weights="none")
    match = r"^a\.pt: weights of another model than squeezenet1_1: " + message
    with pytest.raises(BadInput, match=match):
        load_weights(model, state, head=head_of("squeezenet1_1"), source="a.pt", name="squeezenet1_1")


@pytest.mark.filterwarnings("ignore:Sparse CSR")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensor: tensor.long(), "holds int64 where the model has floats"),
        (lambda tensor: tensor.cfloat(), "holds complex64 where the model has floats"),
        (lambda tensor: tensor * float("nan"), "holds values that are not finite"),
        (lambda tensor: tensor.to_sparse(), "is quantized, sparse or without values"),
        (lambda tensor: tensor.to_sparse_csr(), "is quantized, sparse or without values"),
        (lambda tensor: tensor.to("meta"), "is quantized, sparse or without values"),
    ],
)
def test_weights_that_are_no_weights_are_refused_by_name(change, message):
    state = trained_elsewhere().state_dict()
    state["features.0.weight"] = change(state["features.0.weight"])
    with pytest.raises(BadInput, match=rf"^the state dict: features\.0\.weight {message}"):
        pretrained_classifier("squeezenet1_1", 2, weights=state)


def test_a_file_that_holds_itself_is_refused(tmp_path):
    itself = {"epoch": 3}
    itself["model"] = itself
    torch.save(itself, tmp_path / "weights.pt")
    with pytest.raises(BadInput, match=r"weights\.pt: holds no state dict"):
        read_state_dict(tmp_path / "weights.pt")


def test_weights_of_another_architecture_are_refused():
    state = trained_elsewhere("resnet18").state_dict()
    with pytest.raises(BadInput, match="the state dict: weights of another model than squeezenet1_1"):
        pretrained_classifier("squeezenet1_1", 2, weights=state)


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
