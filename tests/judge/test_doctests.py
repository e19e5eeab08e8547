"""The examples in the judge's docstrings are true, and there are some."""

import doctest
import importlib
import pkgutil

import bandstand.judge


def test_examples_in_docstrings() -> None:
    names = [module.name for module in pkgutil.walk_packages(bandstand.judge.__path__, "bandstand.judge.")]
    results = [doctest.testmod(importlib.import_module(name)) for name in names]
    assert sum(result.failed for result in results) == 0
    assert sum(result.attempted for result in results) >= 6
