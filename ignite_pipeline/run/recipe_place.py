"""Where the function of a recipe stands, as ``config.json`` keeps it, and how it is found there again."""

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType


def place_of(recipe: Callable[..., object] | None) -> dict[str, str] | None:
    """Return the module, the file and the name of a recipe's function.

    None is returned where it cannot be found again: it is a partial, say, or inside another function.
    """
    module = sys.modules.get(getattr(recipe, "__module__", None) or "")
    name = getattr(recipe, "__qualname__", "")
    if module is None or getattr(module, name, None) is not recipe:
        return None
    try:
        file = inspect.getfile(module)
    except TypeError:  # typed in by hand
        return None
    spec = getattr(module, "__spec__", None)  # of a script, None; of python -m, what it would be imported as
    named = spec.name if spec is not None else Path(file).stem
    return {"module": named, "file": str(Path(file).resolve()), "function": name}


@contextmanager
def module_at(place: Mapping[str, str]) -> Iterator[ModuleType]:
    """Import the module that a recipe is in; until the context ends, what lies beside it can be imported too.

    Whatever the import raises goes through.

    >>> with module_at(place_of(module_at)) as module:
    ...     module.module_at is module_at
    True
    """
    file, name = Path(place["file"]), place["module"]
    root = str(file.parents[name.count(".") + (file.name == "__init__.py")])
    sys.path.insert(0, root)
    try:
        module = importlib.import_module(name)
        if Path(getattr(module, "__file__", None) or "").resolve() != file:
            module = _module_in(file, f"recipe_{file.stem}")
        yield module
    finally:
        sys.path.remove(root)


def _module_in(file: Path, name: str) -> ModuleType:
    """Return the module in a file, where another one has its name."""
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no module of Python")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
