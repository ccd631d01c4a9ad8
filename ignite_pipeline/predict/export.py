"""A trained model for other people's programs: as an exported program, as ONNX, or as plain weights."""

import copy
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from handlers.checkpoint_files import NAME
from handlers.files import read_regular
from ignite_pipeline.data.batch_transforms import Normalize
from ignite_pipeline.errors import BadInput
from ignite_pipeline.output_files import require_writable, write_output
from ignite_pipeline.predict.trained_models import PROGRAM_SUFFIX, SIGNATURE, TrainedModel
from ignite_pipeline.predictor import Predictor
from ignite_pipeline.signature import Signature


def export_model(model: nn.Module, signature: Signature, path: str | Path) -> None:
    """Write a model to ``path``: a program (``.pt2``), ONNX (``.onnx``) or its state dict (``.pt``).

    A program and ONNX take uint8 images ``(B, 3, S, S)``, any number of them (one at a time for a model that
    translates images), and return what `Predictor` does: normalisation, mirror images and probabilities are
    in them. They hold the signature, too; beside a state dict it lies as JSON. `BadInput` is raised for
    another suffix, for a model that cannot be exported, where a package is missing, and where the file cannot
    be written or the JSON would replace another one.

    >>> import tempfile
    >>> from ignite_pipeline.data.preprocessing import Preprocessing
    >>> preprocessing = Preprocessing(8, 8, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "model.pt2")
    ...     export_model(model, Signature("classes", preprocessing, ("day", "night")), path)
    ...     program = torch.export.load(path).module()
    >>> program(torch.zeros(5, 3, 8, 8, dtype=torch.uint8)).shape
    torch.Size([5, 2])
    """
    path = Path(path)
    writers = {PROGRAM_SUFFIX: _write_program, ".onnx": _write_onnx, ".pt": _write_weights}
    if path.suffix not in writers:
        raise BadInput(f"--export {path}: must end in {', '.join(writers)}")
    if NAME.fullmatch(path.name):
        raise BadInput(f"--export {path}: the checkpoints of a run are called so; give another name")
    require_writable(path, option="--export")
    beside = path.with_suffix(".json")
    if path.suffix == ".pt":
        _require_no_other(beside)
    portable = copy.deepcopy(model).cpu()
    portable.to(memory_format=torch.contiguous_format)
    predictor = Predictor(portable, signature)
    if isinstance(predictor.normalize, Normalize):
        predictor.normalize = _NormalizeAnew(predictor.normalize)
    with predictor.inferring():
        write = writers[path.suffix](predictor)
    write_output(path, write, option="--export")
    if path.suffix == ".pt":
        text = _as_text(signature)
        write_output(beside, lambda place: place.write_text(text), option="--export")


def export_trained(model: TrainedModel, path: str, *, inputs: Iterable[str | Path] = ()) -> None:
    """Write a model that has been loaded; neither its own file is replaced nor one of ``inputs``."""
    if model.predictor is None:
        raise BadInput(f"--export: {model.source} has been exported already; give a checkpoint")
    require_writable(path, option="--export", inputs=[model.source, *inputs])
    export_model(model.predictor.model, model.signature, path)
    print(f"{path}: the model of {model.source}", file=sys.stderr)


def _require_no_other(beside: Path) -> None:
    """Raise `BadInput` if the signature would replace another file, such as the ``config.json`` of a run."""
    require_writable(beside, option="--export")
    try:
        Signature.from_json(json.loads(read_regular(beside)))
    except FileNotFoundError:
        return
    except (OSError, ValueError, RecursionError) as error:  # BadInput is one
        raise BadInput(
            f"--export: {beside} gets the signature, but is no signature now; give another name"
        ) from error


class _NormalizeAnew(nn.Module):
    """As `Normalize`, to the last bit, but not in place, which torch 2.6 cannot export to ONNX."""

    scale: Tensor
    shift: Tensor

    def __init__(self, normalize: Normalize) -> None:
        super().__init__()
        self.register_buffer("scale", normalize.scale)
        self.register_buffer("shift", normalize.shift)

    def forward(self, x: Tensor) -> Tensor:
        return x.to(torch.float32) * self.scale + self.shift


def _as_text(signature: Signature) -> str:
    return json.dumps(signature.as_json(), indent=2) + "\n"


@contextmanager
def _naming(predictor: Predictor, what: str) -> Iterator[None]:
    try:
        yield
    except BadInput:
        raise
    except Exception as error:  # whatever a model does that cannot be traced, or written
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        name, reason = type(predictor.model).__name__, str(cause).strip().partition("\n")[0]
        raise BadInput(f"--export: {name} cannot be exported{what}: {reason}") from error


def _exported(predictor: Predictor) -> Any:
    images = predictor.signature.example()
    shapes = None if len(images) == 1 else ({0: torch.export.Dim("batch")},)
    with _naming(predictor, ""):
        return torch.export.export(predictor, (images,), dynamic_shapes=shapes)


def _write_program(predictor: Predictor) -> Callable[[Path], object]:
    program = _exported(predictor)
    extra = {SIGNATURE: _as_text(predictor.signature)}

    def write(path: Path) -> None:
        with open(path, "wb") as file:
            torch.export.save(program, file, extra_files=extra)

    return write


def _write_onnx(predictor: Predictor) -> Callable[[Path], object]:
    if missing := [package for package in ("onnx", "onnxscript") if find_spec(package) is None]:
        raise BadInput(f"--export: ONNX needs {' and '.join(missing)}: pip install 'ignite_pipeline[onnx]'")
    with _naming(predictor, " to ONNX (a .pt2 program has fewer limits)"):
        program = torch.onnx.export(
            _with_batch_statistics(_exported(predictor), one_by_one=predictor.signature.kind == "image"),
            input_names=["images"],
            output_names=["predictions"],
            dynamo=True,
            verbose=False,
        )
        assert program is not None
        content = program.model_proto
        entry = content.metadata_props.add()
        entry.key, entry.value = SIGNATURE, _as_text(predictor.signature)
        whole = content.SerializeToString()
    return lambda path: path.write_bytes(whole)


def _with_batch_statistics(program: Any, *, one_by_one: bool) -> Any:
    """Let a batch norm that uses the statistics of the batch do so in ONNX, too.

    The exporter takes any batch norm for one that uses its running statistics. A single image's are those of
    an instance norm.
    """
    for node in program.graph.nodes:
        if node.target is torch.ops.aten.batch_norm.default and node.args[5]:
            if not one_by_one:
                raise BadInput(
                    "--export: ONNX has no batch norm that uses the statistics of the batch; write a .pt2"
                )
            x, weight, bias, _, _, _, momentum, epsilon, cudnn = node.args
            node.target = torch.ops.aten.instance_norm.default
            node.args = (x, weight, bias, None, None, True, momentum, epsilon, cudnn)
    return program


def _write_weights(predictor: Predictor) -> Callable[[Path], object]:
    state = predictor.model.state_dict()

    def write(path: Path) -> None:
        with open(path, "wb") as file:
            torch.save(state, file)

    return write
