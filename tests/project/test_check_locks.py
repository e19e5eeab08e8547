"""The check of the locks: it finds what an installer would have to look for by itself."""

from collections.abc import Sequence
from importlib.metadata import Distribution, distributions
from pathlib import Path

import pytest

from requirements.check_locks import find_unmet, read_pins
from tests.project.checkout import ROOT

TEST_LOCK = (ROOT / "requirements" / "test.txt").read_text(encoding="utf-8")
REPORTER = ("reporter", "2.0", ["coverage[toml]>=7.10"])
COVERAGE = ("coverage", "7.17", ["tomli; extra == 'toml'", "windows-only; sys_platform == 'win32'"])
TOMLI: tuple[str, str, list[str]] = ("tomli", "2.4", [])


def lock_of(*entries: str) -> str:
    hashes = "".join(f" \\\n    --hash=sha256:{digit * 64}" for digit in "ab")
    return "# made by a tool\n" + "".join(f"{entry}{hashes}\n" for entry in entries)


def install(site: Path, *packages: tuple[str, str, Sequence[str]]) -> list[Distribution]:
    """What an installer leaves of each package, and its requirements: its description."""
    for name, version, requirements in packages:
        lines = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {each}" for each in requirements)]
        folder = site / f"{name}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text("\n".join(["Metadata-Version: 2.1", *lines, ""]), encoding="utf-8")
    return list(distributions(path=[str(site)]))


def test_a_closed_lock_has_no_fault(tmp_path: Path) -> None:
    installed = install(tmp_path, REPORTER, COVERAGE, TOMLI)
    pins = read_pins(lock_of("coverage[toml]==7.17", "reporter==2.0", "tomli==2.4 ; python_version > '3'"))
    assert list(find_unmet(pins, installed)) == []


@pytest.mark.parametrize(
    ("entries", "fault"),
    [
        (
            ["coverage==7.17", "reporter==2.0", "tomli==2.4"],
            "reporter asks for coverage[toml]>=7.10, and coverage is pinned without [toml]",
        ),
        (
            ["coverage[toml]==7.17", "reporter==2.0"],
            'coverage asks for tomli; extra == "toml", which is not pinned',
        ),
        (
            ["coverage[toml]==7.17", "reporter==2.0", "tomli==2.4 ; python_version < '3'"],
            'coverage asks for tomli; extra == "toml", which is not pinned',
        ),
        (
            ["coverage[toml]==7.9", "reporter==2.0", "tomli==2.4"],
            "reporter asks for coverage[toml]>=7.10, and 7.9 is pinned",
        ),
    ],
)
def test_what_an_installer_would_look_for_is_a_fault(tmp_path: Path, entries: list[str], fault: str) -> None:
    installed = install(tmp_path, REPORTER, COVERAGE, TOMLI)
    assert list(find_unmet(read_pins(lock_of(*entries)), installed)) == [fault]


def test_this_environment_s_lock_is_closed_and_was_not_before_it_named_extras() -> None:
    assert list(find_unmet(read_pins(TEST_LOCK), distributions())) == []
    before = TEST_LOCK.replace("coverage[toml]==", "coverage==")
    assert before != TEST_LOCK
    (fault,) = find_unmet(read_pins(before), distributions())
    assert fault.startswith("pytest-cov asks for coverage[toml]")
