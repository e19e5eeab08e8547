"""The examples in the learning core's docstrings are true, and there are some."""

import doctest
import importlib
import pkgutil

import bandstand.bandit


def test_examples_in_docstrings() -> None:
    names = [module.name for module in pkgutil.iter_modules(bandstand.bandit.__path__, "bandstand.bandit.")]
    results = [doctest.testmod(importlib.import_module(name)) for name in names]
    assert sum(result.failed for result in results) == 0
    assert sum(result.attempted for result in results) >= 6
