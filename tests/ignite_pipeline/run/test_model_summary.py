"""What a model is made of, and what a step of it takes, counted by hand."""

import pytest
import torch
from torch import nn

import run_cifar2
from ignite_pipeline.run.model_summary import as_text, summarize
from ignite_pipeline.steps import supervised_step


class Shared(nn.Module):
    """A parameter of its own beside two layers that share one."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))
        self.first, self.second = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.second(self.first(x * self.scale))


def summarized(model, x, y):
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1, momentum=0.9)
    step = supervised_step(model, optimizer, nn.functional.cross_entropy)
    return summarize(step, (x, y), {"model": model, "optimizer": optimizer})


def test_layers_shapes_parameters_and_costs():
    model = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 2))
    model[0].weight.requires_grad_(False)
    models, cost = summarized(model, torch.randn(5, 3, 8, 8), torch.zeros(5, dtype=torch.long))
    found = [
        (layer.name, layer.kind, layer.shape, layer.parameters, layer.trainable) for layer in models["model"]
    ]
    assert found == [
        ("0", "Conv2d", (5, 4, 6, 6), 108, 0),
        ("1", "ReLU", (5, 4, 6, 6), 0, 0),
        ("2", "Flatten", (5, 144), 0, 0),
        ("3", "Linear", (5, 2), 290, 290),
    ]
    convolution, linear = 2 * 5 * 6 * 6 * 4 * 27, 2 * 5 * 144 * 2
    assert cost.flops == convolution + 2 * linear  # forward, and backward to the weights of the last alone
    assert (cost.parameters_bytes, cost.gradients_bytes, cost.optimizer_bytes) == (4 * 398, 4 * 290, 4 * 290)
    seen_by_linear, log_probabilities, targets, their_weight = 4 * 5 * 144, 4 * 5 * 2, 8 * 5, 4
    assert cost.activations_bytes == seen_by_linear + log_probabilities + targets + their_weight
    assert "398 parameters, 290 of them trained" in as_text(models, cost, 5)


def test_what_is_shared_counts_once_and_what_a_parent_holds_counts():
    models, _ = summarized(Shared(), torch.randn(2, 3), torch.zeros(2, dtype=torch.long))
    assert sum(layer.parameters for layer in models["model"]) == 3 + 9


def test_the_book_s_net_has_as_many_parameters_as_in_the_book(tmp_path, capsys):
    output = tmp_path / "run"
    options = ["--dataset", "generated", "--model", "fully-connected", "--summary", "--visdom", "off"]
    run_cifar2.main([*options, "--output", str(output)])
    assert "1,574,402 parameters, 1,574,402 of them trained" in capsys.readouterr().out
    assert not output.exists()


def test_micro_batches_are_refused_as_their_memory_is_not_seen(tmp_path, capsys):
    options = ["--dataset", "generated", "--summary", "--micro-batches", "2", "--visdom", "off"]
    with pytest.raises(SystemExit) as stop:
        run_cifar2.main([*options, "--output", str(tmp_path / "run")])
    assert stop.value.code == 2
    assert "give --micro-batches 1" in capsys.readouterr().err


def test_no_hook_stays():
    model = nn.Linear(2, 2)
    models, _ = summarized(model, torch.randn(2, 2), torch.zeros(2, dtype=torch.long))
    assert not model._forward_hooks
    assert models["model"][0].shape == (2, 2)  # which a hook had seen
