"""The generator of observability/, which is a script and part of no package."""

import importlib.util
from functools import cache
from types import ModuleType

from support.packaging import ROOT


@cache
def generator(name: str = "observability") -> ModuleType:
    """Return a module of tools/."""
    spec = importlib.util.spec_from_file_location(f"tools_{name}", ROOT / f"tools/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
