"""Weights that others have trained: read from a file without running code, and put into a model by name."""

import pickle
import re
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ignite_pipeline.errors import BadInput

_PLACES = ("state_dict", "model", "model_state_dict", "objects")
_PREFIXES = ("module.", "_orig_mod.")
_DEEPEST = 4
_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Return the state dict that ``torch.save`` has written, tensors on the CPU.

    It may lie under ``state_dict``, ``model`` or ``model_state_dict``, as in other people's checkpoints, or
    under ``objects``, as in ours. Nothing in the file is executed. `BadInput` names the file and says what is
    wrong with it.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile(suffix=".pt") as file:
    ...     torch.save({"epoch": 3, "model": {"bias": torch.zeros(2)}}, file.name)
    ...     read_state_dict(file.name)
    {'bias': tensor([0., 0.])}
    """
    path = Path(path)
    content = _read(path)
    for _ in range(_DEEPEST):
        if not isinstance(content, dict) or _is_state_dict(content):
            break
        place = next((place for place in _PLACES if isinstance(content.get(place), dict)), None)
        if place is None:
            names = ", ".join(map(str, list(content)[:5])) or "nothing"
            raise BadInput(f"{path}: holds no state dict, but {names}; save model.state_dict()")
        content = content[place]
    if not isinstance(content, dict) or not _is_state_dict(content):
        raise BadInput(
            f"{path}: holds no state dict, but a {type(content).__name__}; save model.state_dict()"
        )
    return content


def _read(path: Path) -> Any:
    try:
        if not path.is_file():
            what = "not a regular file" if path.exists() else "no such file"
            raise BadInput(f"{path}: {what}; give one that torch.save has written")
        with open(path, "rb") as file:
            beginning = file.read(len(_ZIP))
        if not beginning.startswith((_ZIP, _PICKLE)):
            raise BadInput(f"{path}: not a file that torch.save has written")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of TorchScript and old pickles, which are read or refused
            return torch.load(path, map_location="cpu", weights_only=True)
    except BadInput:
        raise
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror or error})") from error
    except pickle.UnpicklingError as error:
        raise BadInput(
            f"{path}: damaged, or holds more than tensors, such as a whole model, which would run code; save"
            " model.state_dict()"
        ) from error
    except Exception as error:  # whatever a foreign file makes the unpickler stumble over
        raise BadInput(f"{path}: damaged, cut off, or no state dict ({type(error).__name__})") from error


def _is_state_dict(content: Mapping[Any, Any]) -> bool:
    return bool(content) and all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    )


class _Versioned(dict[str, Tensor]):
    """A state dict with the versions of its modules, by which they translate the names of old ones."""

    def __init__(self, entries: Mapping[str, Tensor], versions: Mapping[str, Any]) -> None:
        super().__init__(entries)
        self._metadata = versions


def _versions(state: Mapping[str, Tensor]) -> dict[str, Any]:
    return getattr(state, "_metadata", {})


def load_weights(
    model: nn.Module,
    state: Mapping[str, Tensor],
    *,
    source: str,
    name: str,
    head: Collection[str] = (),
    unused: Collection[str] = (),
) -> None:
    """Put a state dict into a model, all but its ``head``, which stays as it is, and what is ``unused``.

    Everything else has to be there, under the same name and in the same shape. Names lose what data
    parallelism (``module.``) and ``torch.compile`` (``_orig_mod.``) put before them; those that torchvision
    has given up are translated. `BadInput` is raised for the weights of another model; it calls them
    ``source`` and the model ``name``, which may then be changed in part.

    >>> model = nn.Linear(2, 1)
    >>> load_weights(model, {"weight": torch.ones(1, 3)}, head={"bias"}, source="best.pt", name="small")
    Traceback (most recent call last):
    ...
    ignite_pipeline.errors.BadInput: best.pt: weights of another model than small: 1 entries have another
    shape, such as weight: (1, 3) instead of (1, 2)
    """
    own = model.state_dict()
    entries = {_new_name(entry): tensor for entry, tensor in state.items()}
    entries = {entry: tensor for entry, tensor in entries.items() if entry not in unused}
    entries.update((entry, own[entry]) for entry in head)
    versions = {_new_name(f"{part}.")[:-1]: version for part, version in _versions(state).items()}
    if entries.keys() == own.keys():  # nothing is left to translate, even if the versions have been lost
        versions = _versions(own)
    wrong = [entry for entry in entries if entry in own and entries[entry].shape != own[entry].shape]
    if wrong:
        shape, instead = tuple(entries[wrong[0]].shape), tuple(own[wrong[0]].shape)
        example = f"such as {wrong[0]}: {shape} instead of {instead}"
        raise _of_another_model(source, name, f"{len(wrong)} entries have another shape, {example}")
    for entry, tensor in entries.items():
        if entry in own and (why := _unusable(tensor, own[entry])):
            raise BadInput(f"{source}: {entry} {why}")
    try:
        missing, unknown = model.load_state_dict(_Versioned(entries, versions), strict=False)
    except (RuntimeError, ValueError) as error:  # found by a module that has translated names
        raise _of_another_model(source, name, " ".join(str(error).split())) from error
    found = [(missing, "are missing"), (unknown, "are not in it")]
    differences = [f"{len(names)} entries {what}, such as {names[0]}" for names, what in found if names]
    if differences:
        raise _of_another_model(source, name, "; ".join(differences))


def _unusable(tensor: Tensor, own: Tensor) -> str | None:
    """Return why a tensor of a file cannot stand in for one of the model, if it cannot."""
    if tensor.is_meta or tensor.is_quantized or tensor.layout != torch.strided:
        return "is quantized, sparse or without values; save the weights as dense floats"
    if own.is_floating_point() and not tensor.is_floating_point():
        return f"holds {str(tensor.dtype).removeprefix('torch.')} where the model has floats"
    if tensor.is_floating_point() and not tensor.isfinite().all():
        return "holds values that are not finite: that training had diverged"
    return None


def _new_name(name: str) -> str:
    while name.startswith(_PREFIXES):
        name = name.partition(".")[2]
    # Files of torchvision's DenseNets have names that modules can no longer have: norm.1 for norm1.
    return re.sub(r"(denselayer\d+\.(?:norm|conv))\.(\d\.)", r"\1\2", name)


def _of_another_model(source: str, name: str, why: str) -> BadInput:
    return BadInput(f"{source}: weights of another model than {name}: {why}")
