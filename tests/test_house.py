"""The rules of the house that no type checker sees."""

import subprocess
import sys
from pathlib import Path

import pytest

import handlers

ROOT = Path(handlers.__file__).parent.parent


@pytest.mark.parametrize(
    ("package", "other"), [("handlers", "ignite_pipeline"), ("ignite_pipeline", "handlers")]
)
def test_the_packages_do_not_know_each_other(package, other):
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in (ROOT / package).rglob("*.py")
        if path.name != "__init__.py"
    ]
    assert len(names) > 5
    code = (
        f"import sys, importlib; [importlib.import_module(name) for name in {names}];"
        f"sys.exit(any(name.split('.')[0] == {other!r} for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_the_exported_names_of_handlers():
    assert handlers.__all__ == [
        "Checkpoints",
        "EvaluateEachEpoch",
        "FetchComputeTimer",
        "Interrupted",
        "LearningRate",
        "ModelNorms",
        "ProgressLine",
        "Record",
        "SampleGrids",
        "StepMeans",
        "StopOnNonFinite",
        "StopOnSignal",
        "VisdomBoard",
        "create_run",
        "load_checkpoint",
        "load_newest",
        "model_sha256",
        "plot_report",
        "read_config",
        "update_config",
    ]
    assert all(hasattr(handlers, name) for name in handlers.__all__)


PUBLIC = {
    "adversarial": [
        "discriminator_accuracy",
        "gradient_penalty",
        "hinge",
        "least_squares",
        "vanilla",
        "wasserstein",
    ],
    "data.auto_workers": ["AutoWorkers"],
    "data.batch_transforms": ["Normalize", "RandomCrop", "SplitPair"],
    "data.cifar2": ["cifar2"],
    "data.generated": ["draw_airplanes_and_birds"],
    "data.generated_facades": ["draw_facades"],
    "data.images": [
        "ImageSplits",
        "ImageTensors",
        "UnreadableImage",
        "allocate",
        "count_unreadable",
        "image_files",
        "progress",
        "read_image",
        "stack_images",
    ],
    "data.loading": [
        "BadSample",
        "EndlessLoader",
        "PositionKeyed",
        "PositionSampler",
        "endless_loader",
        "ordered_loader",
    ],
    "data.paired": ["PairTensors", "paired_images", "split_pair"],
    "data.smaller_decoding": ["SmallerDecoding", "drafting", "size_wanted", "try_smaller_decoding"],
    "data.transform_costs": [
        "Reordering",
        "TransformCost",
        "quicker_orders",
        "transform_costs",
        "transforms_of",
    ],
    "data.tuning": [
        "Measurement",
        "Setting",
        "available_cores",
        "candidates",
        "compute_s",
        "flops_per_s",
        "items_per_s",
        "loader_s",
        "loop_or_loader_s",
        "loop_s",
        "paired_loops_s",
        "recommend",
        "search",
        "seconds_a_batch",
    ],
    "memory": ["keep_freed_memory"],
    "models.classifiers": [
        "GlobalMaxPool",
        "Residual",
        "Whitening",
        "conv_net",
        "fit_whitening",
        "fully_connected",
        "residual_net",
    ],
    "models.small_convolutions": ["SmallConv2d", "SmallConvTranspose2d"],
    "models.pix2pix": ["PatchDiscriminator", "UNetGenerator", "initialize"],
    "precision": ["Precision", "resolve_precision"],
    "seeding": ["ReseedEachIteration", "make_deterministic", "position_seed", "seeded"],
    "steps": [
        "accuracy",
        "evaluation_step",
        "frozen",
        "gan_step",
        "inference_mode_of",
        "supervised_step",
        "to_device",
        "translation_step",
    ],
}


def test_the_public_names_of_ignite_pipeline():
    found = {}
    for path in sorted((ROOT / "ignite_pipeline").rglob("*.py")):
        module = ".".join(path.relative_to(ROOT / "ignite_pipeline").with_suffix("").parts)
        names = [
            line.split()[1].split("(")[0].rstrip(":")
            for line in path.read_text().splitlines()
            if line.startswith(("def ", "class "))
        ]
        if public := sorted(name for name in names if not name.startswith("_")):
            found[module] = public
    assert found == PUBLIC


def test_nobody_names_handlers_beside_a_script():
    assert not (ROOT / "scripts" / "handlers.py").exists()
