"""The import contracts leave no part of the package out."""

import tomllib
from typing import Any

import pytest

from tests.project.checkout import ROOT

CONTRACTS: list[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"][
    "contracts"
]
MAY = {
    "Only wiring and cli read settings": {"cli", "config", "wiring"},
    "Only api, console, wiring and cli know the web framework": {"api", "cli", "console", "wiring"},
    "Only store knows the database": {"store"},
    "Only store, wiring and cli know which engine runs": {"cli", "store", "wiring"},
    "Only llm knows the model providers": {"llm"},
}
"""For each contract of this form, the parts that it does not bind."""


def list_parts() -> set[str]:
    package = ROOT / "src" / "bandstand"
    found = {path.stem for path in package.glob("*.py")} | {path.parent.name for path in package.glob("*/__init__.py")}
    return found - {"__init__", "__main__"}


@pytest.mark.parametrize("name", MAY)
def test_a_contract_binds_every_part_but_those_it_names(name: str) -> None:
    (contract,) = [each for each in CONTRACTS if each["name"] == name]
    bound = {module.removeprefix("bandstand.") for module in contract["source_modules"]}
    assert bound == list_parts() - MAY[name]


def test_every_contract_of_this_form_is_checked() -> None:
    assert {each["name"] for each in CONTRACTS if each["name"].startswith("Only ")} == set(MAY)
