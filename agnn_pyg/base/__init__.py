"""Code that both packages use: tables, files, settings, training and commands."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping


def lazy_names(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package that imports names on first use.

    Commands then start without importing the whole package (PEP 562). :obj:`homes` maps
    names to modules. No module may have one of the names: it would hide the attribute.
    """
    namespace = vars(sys.modules[package])

    def get(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        home = importlib.import_module(f'{package}.{homes[name]}')
        namespace[name] = getattr(home, name)  # cached for the next access
        return namespace[name]

    return get, lambda: sorted({*namespace, *homes})
