"""The locks: every package pinned and hashed, no index named, and nothing that pyproject.toml asks for is missing."""

import json
import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.project.checkout import ROOT

LOCKS = ("base", "test")
OTHER_LOCKS = ("litellm", "personalizer", "uv")
"""Of programs that are started, each in an environment of its own."""
ENTRY = re.compile(r"[a-z0-9.-]+(\[[a-z0-9,-]+\])?==\S+( ; [^\\]+?)?( --hash=sha256:[0-9a-f]{64})+")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def entries(lock: str) -> list[str]:
    text = (ROOT / "requirements" / f"{lock}.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return re.sub(r" \\\n\s*", " ", "\n".join(lines)).splitlines()


def parse_pins(lock: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for entry in entries(lock):
        requirement = Requirement(entry.partition(" --hash")[0])
        versions = [specifier.version for specifier in requirement.specifier if specifier.operator == "=="]
        assert len(versions) == len(requirement.specifier) == 1, entry
        found.setdefault(canonicalize_name(requirement.name), set()).update(versions)
    return found


def parse_requirements(lock: str) -> list[Requirement]:
    groups = PYPROJECT["dependency-groups"]
    members = groups["build"] + (groups["test"] if lock == "test" else [])
    texts = PYPROJECT["project"]["dependencies"] + [member for member in members if isinstance(member, str)]
    return [Requirement(text) for text in texts]


@pytest.mark.parametrize("lock", LOCKS + OTHER_LOCKS)
def test_a_lock_names_no_index_and_no_place(lock: str) -> None:
    text = (ROOT / "requirements" / f"{lock}.txt").read_text(encoding="utf-8")
    assert not re.search(r"://|@ |^-|file:|index-url|find-links", text, re.MULTILINE)


def test_the_lock_of_javascript_names_no_registry_and_hashes_every_package() -> None:
    text = (ROOT / "requirements" / "personalizer" / "package-lock.json").read_text(encoding="utf-8")
    packages = json.loads(text)["packages"]
    assert all("integrity" in package for name, package in packages.items() if name)
    assert not any("resolved" in package for package in packages.values())
    told = [{key: value for key, value in package.items() if key != "funding"} for package in packages.values()]
    assert "://" not in json.dumps(told)


@pytest.mark.parametrize("lock", LOCKS + OTHER_LOCKS)
def test_every_entry_is_pinned_and_hashed(lock: str) -> None:
    assert parse_pins(lock)
    for entry in entries(lock):
        assert ENTRY.fullmatch(entry), entry


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_holds_what_pyproject_asks_for_in_a_version_it_allows(lock: str) -> None:
    held = parse_pins(lock)
    for requirement in parse_requirements(lock):
        versions = held[canonicalize_name(requirement.name)]
        assert all(requirement.specifier.contains(version) for version in versions), requirement


def test_the_test_lock_is_the_base_lock_and_more() -> None:
    assert set(entries("base")) < set(entries("test"))
