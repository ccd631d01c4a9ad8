"""Any classifier of torchvision with a new head, on weights that others have trained."""

import difflib
import functools
import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlparse

import torch
import torchvision
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ignite_pipeline.command_line import say, speaks
from ignite_pipeline.data.preprocessing import Preprocessing
from ignite_pipeline.downloads import DOWNLOAD_FAILURES, require_answer
from ignite_pipeline.errors import BadInput
from ignite_pipeline.models.weight_files import load_weights, read_state_dict


def classifier_names() -> list[str]:
    """Return the names of torchvision's classifiers, in alphabetical order.

    >>> classifier_names()[:3]
    ['alexnet', 'convnext_base', 'convnext_large']
    """
    names: list[str] = torchvision.models.list_models(module=torchvision.models)
    return names


def pretrained_classifier(
    name: str, num_outputs: int, *, weights: str | Path | Mapping[str, Tensor] = "default"
) -> nn.Module:
    """Return a classifier of torchvision that maps images ``(B, 3, H, W)`` to logits ``(B, num_outputs)``.

    ``weights`` are

    - ``"default"``: the best that torchvision offers, downloaded once (see `default_weights`);
    - ``"none"``: random ones, drawn from torch's generator;
    - a file, as `read_state_dict` takes it, or a state dict of such a model.

    **The head is new, whatever the weights**, drawn from torch's generator: a head for other classes of the
    same number would fit and be wrong. (To go on with a trained head, use ``load_state_dict``.) GoogLeNet and
    Inception v3 come without their auxiliary outputs; they take images in ImageNet's normalisation, too.

    `BadInput` is raised for an unknown name, naming near ones, and for weights that cannot be read or are
    those of another model.

    >>> model = pretrained_classifier("squeezenet1_1", 2, weights="none").eval()
    >>> model(torch.zeros(1, 3, 64, 64)).shape
    torch.Size([1, 2])
    """
    if num_outputs < 1:
        raise ValueError(f"num_outputs must be at least 1, got {num_outputs}")
    if weights == "none":
        return _build(name, num_outputs, init_weights=True)
    if isinstance(weights, Mapping):
        state, source = weights, "the state dict"
    else:
        path = default_weights(name) if weights == "default" else Path(weights)
        state, source = read_state_dict(path), str(path)
    model = _build(name, num_outputs, init_weights=False)
    load_weights(model, state, source=source, name=name, head=head_of(name), unused=_auxiliary_entries(name))
    return model


@functools.cache
def head_of(name: str) -> tuple[str, ...]:
    """Return the names of the head's parameters: those whose shapes depend on the number of outputs.

    >>> head_of("resnet18")
    ('fc.weight', 'fc.bias')
    """
    some, others = (_sketch(name, count).state_dict() for count in (2, 3))
    return tuple(entry for entry in some if some[entry].shape != others[entry].shape)


def preprocessing_of(name: str, image_size: int | None = None) -> Preprocessing:
    """Return how images were prepared for torchvision's default weights of a classifier.

    Weights from elsewhere are taken to be like them; a vision transformer is built for that ``image_size``.
    For another they are scaled in proportion, so that as much is cut off; `require_image_size` looks whether
    the classifier takes it.

    >>> preprocessing_of("resnet18")
    Preprocessing(image_size=224, resize_size=256, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    >>> preprocessing_of("resnet18", 112).resize_size
    128
    """
    _require_known(name)
    if image_size is not None:
        require_image_size(name, image_size)
    preset = _default(name).transforms()
    (usual,), (resized,) = preset.crop_size, preset.resize_size
    image_size = usual if image_size is None else image_size
    return Preprocessing(
        image_size=image_size,
        resize_size=round(image_size * resized / usual),
        mean=tuple(preset.mean),
        std=tuple(preset.std),
    )


def require_image_size(name: str, size: int) -> None:
    """Raise `BadInput` unless a classifier takes images of ``size`` × ``size`` pixels.

    Vision transformers take images of one size, and others no small ones; a forward pass without data finds
    out.

    >>> require_image_size("vit_b_16", 64)
    Traceback (most recent call last):
    ...
    ignite_pipeline.errors.BadInput: --image-size 64: vit_b_16 takes no such images; its weights were trained
    with --image-size 224
    """
    model = _sketch(name, 2).eval()
    try:
        with torch.device("meta"), torch.no_grad():
            model(torch.empty(1, 3, size, size))
    except (RuntimeError, AssertionError) as error:
        raise BadInput(
            f"--image-size {size}: {name} takes no such images; its weights were trained with"
            f" --image-size {preprocessing_of(name).image_size}"
        ) from error


def default_weights(name: str) -> Path:
    """Return the file of torchvision's default weights of a classifier, downloaded unless it is there.

    It lies where torchvision looks for it too: in ``$TORCH_HOME/hub/checkpoints``, ``~/.cache/torch`` being
    ``TORCH_HOME`` by default. A download becomes that file once it is whole and has the digest in its name;
    several processes may each make one. `BadInput` says how to do without, where it fails.
    """
    _require_known(name)
    url = _url_of(name)
    path = Path(torch.hub.get_dir(), "checkpoints", Path(urlparse(url).path).name)
    if path.exists():
        return path
    digest = re.search(r"-([0-9a-f]{8,})\.pth$", path.name)
    say(f"downloading {url}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        require_answer(url)
        torch.hub.download_url_to_file(url, str(path), digest and digest.group(1), progress=speaks())
    except DOWNLOAD_FAILURES as error:
        raise BadInput(
            f"--weights default: {url} could not be downloaded to {path} ({getattr(error, 'reason', error)});"
            " put it there, or use --weights FILE or --weights none"
        ) from error
    return path


def _require_known(name: str) -> None:
    known = classifier_names()
    if name not in known:
        near = difflib.get_close_matches(name, known) or ["resnet18", "convnext_tiny", "vit_b_16"]
        raise BadInput(f"--model {name}: no classifier of torchvision; try {', '.join(near)}")


def _default(name: str) -> Any:
    return torchvision.models.get_model_weights(name).DEFAULT


def _url_of(name: str) -> str:
    return cast(str, _default(name).url)


def _build(name: str, num_outputs: int, *, init_weights: bool, aux_logits: bool = False) -> nn.Module:
    _require_known(name)
    kind = inspect.signature(torchvision.models.get_model_builder(name)).return_annotation
    given = {
        "aux_logits": aux_logits,
        "init_weights": init_weights,
        "transform_input": True,
        "image_size": preprocessing_of(name).image_size,
    }
    options = {option: given[option] for option in given.keys() & inspect.signature(kind).parameters.keys()}
    return cast(nn.Module, torchvision.models.get_model(name, num_classes=num_outputs, **options))


class _ShapesOnly(TorchFunctionMode):
    """Let parameters be tensors without memory, and do not draw what would be in them.

    ``torch.device("meta")`` would take the numbers as well from which RegNets compute their widths.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in (Tensor.normal_, Tensor.uniform_) and args[0].is_meta:
            return args[0]
        if func is torch.empty and kwargs.get("device") is None:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


def _sketch(name: str, num_outputs: int, *, aux_logits: bool = False) -> nn.Module:
    """Return a classifier on the meta device."""
    with torch.random.fork_rng(devices=[]), _ShapesOnly():
        return _build(name, num_outputs, init_weights=False, aux_logits=aux_logits).to("meta")


def _auxiliary_entries(name: str) -> set[str]:
    with_them, without = (_sketch(name, 2, aux_logits=aux).state_dict() for aux in (True, False))
    return with_them.keys() - without.keys()
