"""Files of weights: what is loaded from them, however old and wherever in them, and what is refused."""

import pickle
import re

import pytest
import torch
from torch import nn

from handlers.checkpoint_files import save_sealed
from ignite_pipeline.errors import BadInput
from ignite_pipeline.models.pretrained import head_of, pretrained_classifier
from ignite_pipeline.models.weight_files import load_weights, read_state_dict
from tests.support.trained_elsewhere import assert_loaded, trained_elsewhere


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
