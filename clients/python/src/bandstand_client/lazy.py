"""A module that is imported when something of it is used first.

The answers of calls that an operator makes once a week are half a hundred dataclasses, and Python takes longer to build
those than the client may take to import.
"""

import importlib
from typing import Any


class LazyModule:
    """Stands for a module until an attribute of it is asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(importlib.import_module(self._name), attribute)
        setattr(self, attribute, value)
        return value
