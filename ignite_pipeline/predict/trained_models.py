"""A trained model from one file: a checkpoint of ours, or an exported program."""

import json
import os
import zipfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from handlers import load_checkpoint, load_newest
from handlers.checkpoint_files import DamagedCheckpoint, checkpoint_path
from handlers.errors import UnusableRun
from handlers.files import require_regular
from ignite_pipeline.compute import Compute
from ignite_pipeline.devices import resolve_device
from ignite_pipeline.errors import BadInput
from ignite_pipeline.models.catalogue import build_model
from ignite_pipeline.models.weight_files import load_weights
from ignite_pipeline.predictor import Predictor
from ignite_pipeline.signature import Signature

SIGNATURE = "signature.json"
PROGRAM_SUFFIX = ".pt2"


@dataclass(frozen=True)
class TrainedModel:
    """A model that predicts: ``forward`` maps uint8 images ``(B, 3, S, S)`` on its device to predictions.

    See `Predictor` for what these are. ``predictor`` is the model itself, and ``seed`` that of its run, where
    the file is a checkpoint.
    """

    source: Path
    signature: Signature
    device: torch.device
    forward: Callable[[Tensor], Tensor]
    predictor: Predictor | None = None
    seed: int = 0

    @property
    def title(self) -> str:
        """The end of the file's path: run, folder and name, for a picture."""
        return "/".join(self.source.parts[-3:])

    def predict(self, images: Tensor) -> Tensor:
        """Return the predictions for uint8 images ``(B, 3, S, S)``, on the CPU."""
        with torch.no_grad():
            return self.forward(images.to(self.device)).float().cpu()

    def log_probabilities(self, images: Tensor) -> Tensor:
        """Return the logarithms of the probabilities of classes, ``(B, K)``, taken from the logits.

        A program returns none: a probability that it rounds to 0 counts as the smallest float.
        """
        if self.predictor is None:
            return self.predict(images).clamp_min(torch.finfo(torch.float32).tiny).log()
        with torch.no_grad():
            return self.predictor.logits(images.to(self.device)).float().log_softmax(1).cpu()

    def inferring(self) -> AbstractContextManager[Any]:
        """Put the model into the mode in which it predicts, within a ``with`` block."""
        return torch.no_grad() if self.predictor is None else self.predictor.inferring()


def load_trained(path: str | Path, *, device: str = "auto", precision: str | None = None) -> TrainedModel:
    """Return the model in a checkpoint, in the best checkpoint of a run's directory, or in a program.

    Nothing in a checkpoint is executed; an exported program (``.pt2``) is one. ``precision`` is the run's own
    unless given. `BadInput` or `UnusableRun` is raised, naming the file, for what cannot predict: the model
    is tried on black images.
    """
    path, on = Path(path), resolve_device(device)
    if path.suffix == PROGRAM_SUFFIX:
        return _tried(_load_program(path, on, precision))
    checkpoint = path if not os.path.isdir(path) else best_checkpoint(path)
    try:
        content = load_checkpoint(checkpoint)
    except DamagedCheckpoint as error:
        if not _is_exported_elsewhere(checkpoint):
            raise
        raise BadInput(
            f"{checkpoint}: ONNX or weights alone are for other programs; give the checkpoint, or a .pt2"
        ) from error
    try:
        config = _part(content, "config")
        options = _part(config, "options")
        if not config.get("signature"):
            raise BadInput(
                "does not say what goes into its model: its recipe gave no signature to run.attach"
            )
        signature = Signature.from_json(config["signature"])
        if signature.model is None:
            raise BadInput(
                "a model that only its recipe can build: export it there with"
                " ignite_pipeline.predict.export.export_model, and give the exported program"
            )
        model = build_model(signature.model, signature.arguments)
        load_weights(
            model,
            _weights_in(content, signature.weights),
            source=signature.weights,
            name=signature.model,
            unused={"n_averaged"},
        )
        compute = Compute(on, precision=precision or options.get("precision", "fp32"))
        predictor = Predictor(model, signature, call=compute.predict)
        if type(seed := options.get("seed", 0)) is not int:
            raise BadInput(f"damaged: its seed is {seed!r}")
    except BadInput as error:
        raise BadInput(f"{checkpoint}: {error}") from error
    predictor.to(on)
    if signature.kind != "image":  # the many weights of a U-Net are factors of products, as they are
        model.to(memory_format=torch.channels_last)
    return _tried(TrainedModel(checkpoint, signature, on, predictor, predictor, seed))


def _tried(model: TrainedModel) -> TrainedModel:
    """Return a model whose signature says what it takes and what it returns; raise `BadInput` for another."""
    images, names = model.signature.example(), model.signature.outputs
    try:
        with model.inferring():
            found = tuple(model.predict(images).shape)
    except Exception as error:  # whatever a foreign model stumbles over
        reason = str(error).strip().partition("\n")[0]
        raise BadInput(
            f"{model.source}: its model does not take what its signature says, images {tuple(images.shape)}"
            f" ({reason})"
        ) from error
    wanted = tuple(images.shape) if model.signature.kind == "image" else (len(images), len(names))
    if found != wanted:
        raise BadInput(f"{model.source}: its model returns {found}, where its signature says {wanted}")
    return model


def best_checkpoint(directory: Path) -> Path:
    """Return the best checkpoint in a run's directory or, where there is no best one, the newest."""
    below = directory / "checkpoints"
    folder = below if os.path.isdir(below) else directory
    if not any(folder.glob("*.pt")):
        raise UnusableRun(
            f"{directory}: a folder without checkpoints; give a run's directory or a checkpoint"
        )
    newest = load_newest(folder)
    best = newest.get("best")
    if best is not None and not (isinstance(best, list | tuple) and len(best) == 2 and type(best[1]) is int):
        raise BadInput(f"{folder}: the newest checkpoint is damaged: its best one is {best!r}")
    return checkpoint_path(folder, newest["engine"]["iteration"] if best is None else best[1])


def _is_exported_elsewhere(path: Path) -> bool:
    if path.suffix == ".onnx":
        return True
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # whatever a foreign file makes the unpickler stumble over
        return False
    return isinstance(content, dict) and all(isinstance(value, Tensor) for value in content.values())


def _part(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = content.get(name) or {}
    if not isinstance(part, Mapping):
        raise BadInput(f"damaged: its {name} is a {type(part).__name__}")
    return part


def _weights_in(content: Mapping[str, Any], name: str) -> dict[str, Tensor]:
    state = _part(content, "objects").get(name)
    if not isinstance(state, dict):
        raise BadInput(f"holds no {name}")
    return {entry: tensor for entry, tensor in state.items() if isinstance(tensor, Tensor)}


def _load_program(path: Path, device: torch.device, precision: str | None) -> TrainedModel:
    if precision not in (None, "fp32"):
        raise BadInput(f"--precision {precision}: an exported program computes in fp32")
    try:
        require_regular(path)
        with zipfile.ZipFile(path) as archive:
            is_ours = any(name.endswith(f"/{SIGNATURE}") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile) as error:
        raise BadInput(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if not is_ours:
        raise BadInput(f"{path}: not a program that was exported here: it does not say what goes into it")
    extra = {SIGNATURE: ""}
    try:
        program = torch.export.load(path, extra_files=extra)
        module = program.module().to(device)
    except Exception as error:  # whatever a foreign file makes it stumble over
        raise BadInput(f"{path}: no exported program ({type(error).__name__})") from error
    try:
        signature = Signature.from_json(json.loads(extra[SIGNATURE]))
    except (BadInput, ValueError) as error:
        raise BadInput(f"{path}: {error}") from error
    return TrainedModel(path, signature, device, module)
