"""Whether the package ``handlers`` that Python finds is ours."""

import importlib.util
from pathlib import Path


def require_our_handlers() -> None:
    """Raise ``ImportError``, in one line, if a user's own ``handlers`` hides ours."""
    found = importlib.util.find_spec("handlers")
    if found is None:
        raise ImportError("the package handlers, a part of ignite_pipeline, is not installed")
    place = Path(found.origin or next(iter(found.submodule_search_locations or [""])))
    if place.name != "__init__.py" or not (place.parent / "checkpointing.py").exists():
        raise ImportError(f"{place} hides the package handlers, a part of ignite_pipeline: rename it")
