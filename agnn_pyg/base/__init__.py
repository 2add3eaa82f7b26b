"""What both recommenders share: tables, files, settings, training and commands."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping


def lazy_names(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package that imports names when first used.

    A command then need not wait for the whole package (PEP 562). The modules in
    :obj:`homes` must not be called as a name: once imported, they would hide it.
    """
    namespace = vars(sys.modules[package])

    def get(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        home = importlib.import_module(f'{package}.{homes[name]}')
        namespace[name] = getattr(home, name)  # found without this function from now on
        return namespace[name]

    return get, lambda: sorted({*namespace, *homes})
