"""Check that locks are closed: each installs by itself, and nothing it installs asks for more than it pins.

usage: python requirements/check_locks.py UV LOCK...

An installer that finds a requirement unmet looks for a version of its own. That works until a newer one comes out, so a
lock with a hole passes every test on the day it is made. An extra counts too: to some installers ``coverage[toml]`` is
another package than the ``coverage`` that is pinned.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_ENTRY = re.compile(r"^[A-Za-z0-9].*?(?=\s*(?:\\$|--hash|$))", re.MULTILINE)


def main(uv: str, *locks: str) -> int:
    """Check each lock in an empty environment of this Python; returns the exit code."""
    faults = [f"{lock}: {fault}" for lock in locks for fault in check_lock(uv, Path(lock))]
    for fault in faults:
        sys.stderr.write(f"{fault}\n")
    return 1 if faults else 0


def check_lock(uv: str, lock: Path) -> list[str]:
    """Install one lock and nothing else; returns what is wrong with it, a sentence each.

    Raises:
        CalledProcessError: it cannot be installed; the installer has said why.
    """
    with tempfile.TemporaryDirectory() as directory:
        python = f"{directory}/bin/python"
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, directory], check=True)
        install = [uv, "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--python", python]
        subprocess.run([*install, "--requirement", lock], check=True)
        checked = subprocess.run(
            [uv, "pip", "check", "--python", python], check=False, stderr=subprocess.PIPE, text=True
        )
        faults = [] if checked.returncode == 0 else [checked.stderr.strip()]
        site = [str(path) for path in Path(directory).glob("lib/python*/site-packages")]
        return faults + list(find_unmet(read_pins(lock.read_text(encoding="utf-8")), distributions(path=site)))


def read_pins(lock: str) -> dict[str, Requirement]:
    """The entries of a lock that count for this Python and this platform, by canonical name."""
    entries = [Requirement(entry) for entry in _ENTRY.findall(lock)]
    counted = [entry for entry in entries if entry.marker is None or entry.marker.evaluate()]
    return {canonicalize_name(entry.name): entry for entry in counted}


def find_unmet(pins: Mapping[str, Requirement], installed: Iterable[Distribution]) -> Iterator[str]:
    """What pinned packages ask for, by their extras too, and no pin meets; unpinned packages do not count."""
    for package in installed:
        pin = pins.get(canonicalize_name(package.name))
        if pin is None:
            continue
        for requirement in map(Requirement, package.requires or ()):
            extras = ("", *sorted(pin.extras))
            if requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in extras):
                fault = _find_fault(requirement, pins.get(canonicalize_name(requirement.name)))
                if fault:
                    yield f"{package.name} asks for {requirement}, {fault}"


def _find_fault(requirement: Requirement, pin: Requirement | None) -> str:
    if pin is None:
        return "which is not pinned"
    (version,) = (specifier.version for specifier in pin.specifier)
    if not requirement.specifier.contains(version, prereleases=True):
        return f"and {version} is pinned"
    missing = ", ".join(sorted(requirement.extras - pin.extras))
    return f"and {pin.name} is pinned without [{missing}]" if missing else ""


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
