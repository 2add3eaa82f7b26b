"""Public names of a package that are imported when they are first used."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping


def lazy_names(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Makes the functions ``__getattr__`` and ``__dir__`` of a package (PEP 562).

    A command, or a part of the package, then need not wait for all the rest.

    No module of the package may have such a name: once imported, it would hide it.

    Args:
        package (str): The name of the package.
        homes (mapping): The module of each public name, relative to the package.
    """
    namespace = vars(sys.modules[package])

    def get(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        home = importlib.import_module(f'{package}.{homes[name]}')
        namespace[name] = getattr(home, name)  # found without this function from now on
        return namespace[name]

    return get, lambda: sorted({*namespace, *homes})
