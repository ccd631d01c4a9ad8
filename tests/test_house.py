"""The rules of the house that no type checker sees."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import handlers
from ignite_pipeline import run

ROOT = Path(handlers.__file__).parent.parent


CORE = (
    "data",
    "models",
    "adversarial",
    "command_line",
    "compute",
    "devices",
    "errors",
    "flat_vector",
    "freezing",
    "gan_steps",
    "machine",
    "model_modes",
    "nested",
    "parameter_groups",
    "replicas",
    "schedules",
    "seeding",
    "standard_streams",
    "steps",
)


def modules_of(package: str) -> list[str]:
    """Return the modules of a package, or the one module, in dots."""
    place = ROOT.joinpath(*package.split("."))
    paths = sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]
    return [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths]


def imported_by(modules: list[str]) -> set[str]:
    code = f"import sys, importlib; list(map(importlib.import_module, {modules})); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    return set(done.stdout.split())


def test_handlers_know_nothing_of_what_is_trained():
    names = modules_of("handlers")
    assert len(names) > 5
    assert not {name for name in imported_by(names) if name.split(".")[0] == "ignite_pipeline"}


def test_the_core_knows_neither_handlers_nor_what_joins_the_two():
    names = [name for part in CORE for name in modules_of(f"ignite_pipeline.{part}")]
    assert len(names) > 5
    above = {"handlers", *(f"ignite_pipeline.{room}" for room in MAY_IMPORT)}
    assert not above & imported_by(names)


# What each may import, besides itself. Nothing imports in a circle, then.
MAY_IMPORT = {
    "handlers": set(),
    "core": set(),
    "board": {"core", "handlers"},
    "run": {"core", "handlers", "board"},
    "profiling": {"core", "handlers", "run"},
    "look": {"core", "handlers"},
    "compare": {"core", "handlers"},
}


def room_of(module: str) -> str | None:
    """Return the room that a module of ours is in."""
    package, _, rest = module.partition(".")
    if package != "ignite_pipeline":
        return "handlers" if package == "handlers" else None
    return rest.split(".")[0] if rest.split(".")[0] in MAY_IMPORT else "core"


def imports_of(path: Path) -> set[str]:
    """Return the modules that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def test_every_room_imports_only_what_stands_below_it():
    for path in [*ROOT.glob("handlers/*.py"), *ROOT.glob("ignite_pipeline/**/*.py")]:
        room = room_of(".".join(path.relative_to(ROOT).with_suffix("").parts))
        found = {room_of(name) for name in imports_of(path)} - {None, room}
        assert found <= MAY_IMPORT[room], path


@pytest.mark.parametrize("package", ["handlers", "ignite_pipeline"])
def test_no_two_modules_import_each_other(package):
    paths = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in ROOT.glob(f"{package}/**/*.py")
    }
    graph = {name: imports_of(path) & paths.keys() for name, path in paths.items()}
    tuple(TopologicalSorter(graph).static_order())  # raises CycleError


@pytest.mark.parametrize("script", ["run_cifar2", "run_finetune", "run_pix2pix"])
def test_the_recipe_of_a_script_can_be_read_at_once(script):
    tree = ast.parse((ROOT / "scripts" / f"{script}.py").read_text())
    (train,) = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "train"]
    assert train.end_lineno - train.lineno + 1 <= 60
    assert not [name for name in imports_of(ROOT / "scripts" / f"{script}.py") if name.startswith("run_")]


def test_the_exported_names_of_run():
    assert run.__all__ == ["BadInput", "Best", "Parser", "Run", "launch", "number"]


def test_the_exported_names_of_handlers():
    assert handlers.__all__ == [
        "Checkpoints",
        "EvaluateEachEpoch",
        "FetchComputeTimer",
        "Interrupted",
        "LearningRate",
        "ModelNorms",
        "ProgressLine",
        "RunRecord",
        "SampleGrids",
        "StepMeans",
        "StopOnNonFinite",
        "StopOnSignal",
        "UnfreezeAfter",
        "VisdomBoard",
        "WeightAverage",
        "create_run",
        "load_best",
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
        "ImageBuffer",
        "discriminator_accuracy",
        "discriminator_loss",
        "gradient_penalty",
        "hinge",
        "least_squares",
        "vanilla",
        "wasserstein",
    ],
    "board.__main__": ["main", "parser"],
    "board.following": ["RunFollower", "follow"],
    "board.origin": ["OwnOriginOnly", "refusals"],
    "board.server": [
        "cache_directory",
        "credentials",
        "front_end",
        "is_answering",
        "main",
        "serve",
        "served",
    ],
    "command_line": [
        "Parser",
        "absolute_path",
        "exit_on_bad_input",
        "is_inside",
        "make_folder",
        "named_path",
        "number",
        "require_outside",
        "say",
        "say_loudly",
        "speaks",
    ],
    "compare.__main__": [
        "compare_sides",
        "list_runs",
        "main",
        "parser",
        "require_consistent",
        "write",
        "write_json",
    ],
    "compare.comparison": ["Comparison", "compare", "find_runs"],
    "compare.differences": ["Difference", "differences"],
    "compare.intervals": ["Estimate", "difference", "ratio", "student_t"],
    "compare.iteration_times": [
        "batch_size",
        "epoch_seconds",
        "is_time",
        "mean_seconds",
        "total",
        "usual_seconds",
        "why_untimed",
    ],
    "compare.limits": ["exceeded", "share"],
    "compare.metrics": ["Metric", "metrics", "worse_by"],
    "compare.past_runs": ["PastRun", "Unfinished", "in_order", "read_run", "run_directories"],
    "compare.picture": ["draw"],
    "compare.report": ["as_json", "as_text", "conclusion", "in_words", "of_unit", "short", "table"],
    "compare.run_table": ["cells", "find_rows", "row_of", "sorted_by"],
    "compare.time_taken": ["Figure", "TimeTaken", "time_taken"],
    "compute": ["Compute"],
    "data.batch_transforms": ["Normalize", "RandomCrop", "SplitPair"],
    "data.cifar2": ["cifar2"],
    "data.csv_table": ["Table", "read_table"],
    "data.class_balance": ["class_weights", "sample_weights"],
    "data.from_workers": ["batches_from_workers"],
    "data.generated": ["draw_airplanes_and_birds"],
    "data.generated_facades": ["draw_facades"],
    "data.held_transforms": ["HeldTransforms", "Place", "name_of"],
    "data.image_folder": ["image_folder"],
    "data.images": [
        "ImageSplits",
        "ImageTensors",
        "UnreadableImage",
        "allocate",
        "channel_statistics",
        "count_unreadable",
        "entries",
        "image_files",
        "progress",
        "read_image",
        "read_square",
        "stack_images",
        "subfolders",
    ],
    "data.labelled_files": [
        "FileNames",
        "LabelledFiles",
        "class_folders",
        "find_split",
        "holds_output",
        "missing_classes",
        "require_no_splits",
        "split_by_name",
    ],
    "data.loading": ["EndlessLoader", "EvaluationLoader", "endless_loader", "evaluation_loader", "readable"],
    "data.loading_costs": ["LoadingCost", "LoadingCosts"],
    "data.order": ["Order", "Shuffled", "Weighted", "permuted"],
    "data.own_randomness": ["keeps_random_state"],
    "data.paired": ["PairTensors", "paired_images", "split_pair"],
    "data.position_keyed": [
        "BadSample",
        "PositionKeyed",
        "Unread",
        "UnreadableSample",
        "size_of",
        "takes_batches",
    ],
    "data.position_sampler": ["BatchKey", "PositionSampler"],
    "data.sample_transforms": ["Albumentation", "Transformed"],
    "data.shared_array": ["SharedArray"],
    "data.stand_in": ["stand_in"],
    "data.stored_images": ["StoredImages"],
    "data.targets_csv": ["read_targets"],
    "data.timed_transforms": ["with_timed_transforms"],
    "data.windowed_order": ["Windowed"],
    "data.worker_process": ["WorkersFailed", "begin_work", "end_soon", "workers_to_end"],
    "devices": ["resolve_device", "resolve_precision", "to_device"],
    "errors": ["BadInput"],
    "flat_vector": ["FlatVector"],
    "freezing": ["freeze_all_but"],
    "gan_steps": ["gan_step", "translation_step"],
    "look.__main__": ["look", "main", "parser", "write"],
    "look.findings": ["Finding", "class_counts", "findings", "in_order", "near_empty_classes"],
    "look.found_files": ["FoundFiles", "find_files"],
    "look.hamming": ["near_pairs"],
    "look.picture": ["draw", "sample_rows"],
    "look.report": ["as_json", "as_text", "printable", "sizes"],
    "look.same_images": [
        "Agreement",
        "Group",
        "NearImages",
        "alike",
        "correlations",
        "exact_groups",
        "near_groups",
        "perceptual_hashes",
        "pixels_sha256",
    ],
    "look.survey": ["Facts", "Survey", "read_facts", "survey"],
    "machine": ["available_cores", "available_memory_bytes", "keep_freed_memory"],
    "model_modes": [
        "Buffers",
        "RepeatedFrom",
        "TrainingMode",
        "frozen",
        "inference_mode_of",
        "require_batch_statistics",
    ],
    "models.classifiers": [
        "GlobalMaxPool",
        "Residual",
        "Whitening",
        "conv_net",
        "fit_whitening",
        "fully_connected",
        "residual_net",
    ],
    "models.pix2pix": ["PatchDiscriminator", "UNetGenerator", "initialize"],
    "models.pretrained": [
        "Preprocessing",
        "classifier_names",
        "default_weights",
        "head_of",
        "preprocessing_of",
        "pretrained_classifier",
        "require_image_size",
    ],
    "models.small_convolutions": ["SmallConv2d", "SmallConvTranspose2d"],
    "models.weight_files": ["load_weights", "read_state_dict"],
    "nested": ["joined", "leaves", "map_leaves", "split"],
    "parameter_groups": ["layer_wise"],
    "profiling.__main__": [
        "answered",
        "folder_for_output",
        "imported",
        "made_by",
        "main",
        "make_parser",
        "parts_of",
        "recipe_of",
        "setting_of",
        "subject_of",
    ],
    "profiling.answers": ["Answer", "Subject", "answer", "wants_search"],
    "profiling.changes": ["Change", "Tried", "changed_loop_s", "try_changes"],
    "profiling.loop_profile": ["confirmed", "measured_transforms", "profile_loop", "verdict_of"],
    "profiling.on_the_way": ["bytes_on_the_way", "try_uint8"],
    "profiling.rarer_handler": ["share_if_rarer"],
    "profiling.recipe": ["Enough", "Parts", "Recipe", "options_given", "parts_of_recipe", "rehearse"],
    "profiling.recorded_run": ["RecordedRun", "options_of", "parts_of_run", "read_run", "recipe_of_run"],
    "profiling.report": ["plot", "plot_tried", "report", "report_of_run"],
    "profiling.smaller_decoding": ["SmallerDecoding", "drafting", "size_wanted", "try_smaller_decoding"],
    "profiling.step_changes": ["memory_formats", "pinning", "precisions", "thread_counts"],
    "profiling.transform_costs": [
        "Reordering",
        "TransformCost",
        "quicker_orders",
        "transform_costs",
        "transforms_of",
    ],
    "profiling.tuning": [
        "Measurement",
        "Setting",
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
    "replicas": ["Between", "Replicas", "Replicated", "TreeSum"],
    "run._package_check": ["require_our_handlers"],
    "run.auto_workers": ["AutoWorkers"],
    "run.changing_values": ["ChangingValues"],
    "run.circumstances": ["circumstances", "differences"],
    "run.correctable": ["correctable"],
    "run.directory": ["RunDirectory", "git_revision"],
    "run.divergence": ["Diverged", "digest", "require_equal"],
    "run.exchange": ["Exchange"],
    "run.generator_states": ["GeneratorState", "as_stateful"],
    "run.given": ["Best", "Described", "Handler"],
    "run.launch": ["launch"],
    "run.learning_rate_search": ["search_learning_rate"],
    "run.live_board": ["require_board", "showing"],
    "run.meeting": ["meet"],
    "run.notices": ["Notices"],
    "run.options": ["add_run_options", "options_of_run", "parse_options"],
    "run.out_of_memory": ["advice", "is_out_of_memory"],
    "run.outcome": ["description_of", "say_bad_samples", "say_how_it_went"],
    "run.processes": ["Processes", "largest_power_of_two"],
    "run.recipe_place": ["module_at", "place_of"],
    "run.restarted": ["begun_before", "job"],
    "run.roll_call": ["LostProcess", "RollCall"],
    "run.run_config": ["read_run_config"],
    "run.saved_objects": ["objects_to_save"],
    "run.session": ["Run"],
    "run.several": ["Several"],
    "run.shared_evaluation": ["InTurn", "count_alone", "share_evaluation"],
    "run.stored_options": [
        "flag",
        "kept_options",
        "options_as_is",
        "options_as_text",
        "options_as_tuple",
        "require_readable",
        "stored_options",
    ],
    "run.stragglers": ["straggler"],
    "run.unsaved_state": ["UnsavedState"],
    "run.until": ["run_until"],
    "schedules": ["rise_and_fall", "warmup_and_cosine"],
    "seeding": [
        "Generators",
        "ReseedEachIteration",
        "make_deterministic",
        "position_seed",
        "require_position",
        "seeded",
    ],
    "standard_streams": ["GuardedStream", "guard_standard_streams"],
    "steps": ["accuracy", "evaluation_step", "supervised_step"],
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
