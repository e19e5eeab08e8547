"""What the image says of itself, as buildah understands it: its user, volume, command and health check.

Only the last stage's own words are built, on nothing: the base image and the packages come from elsewhere, and
`test_image.py` runs what they hold. Without buildah this is skipped, in CI too: it wants to mount and unshare, which a
plain container does not let it, and so no step of CI's installs it.
"""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.project.checkout import ROOT
from tests.project.dockerfile import read_dockerfile

pytestmark = pytest.mark.slow

_SAID = ("ENV", "VOLUME", "USER", "EXPOSE", "HEALTHCHECK", "CMD")


def run_buildah(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    found = shutil.which("buildah")
    if found is None:
        pytest.skip("buildah is not installed")
    store = ["--storage-driver", "vfs", "--root", str(folder / "root"), "--runroot", str(folder / "run")]
    return subprocess.run([found, *store, *words], capture_output=True, text=True, check=False, timeout=120)


def test_buildah_takes_every_word_of_the_image(tmp_path: Path) -> None:
    probe = run_buildah(tmp_path, "from", "scratch")
    if probe.returncode:
        pytest.skip(f"buildah cannot build here: {probe.stderr.strip()}")
    stage = read_dockerfile(ROOT / "Dockerfile")[-1]
    text = "FROM scratch\n" + "".join(
        f"{each.name} {' '.join(f'--{flag}={value}' for flag, value in each.flags.items())} {each.words}\n"
        for each in stage
        if each.name in _SAID
    )
    (tmp_path / "Dockerfile").write_text(text, encoding="utf-8")
    built = run_buildah(tmp_path, "bud", "--format", "docker", "--isolation", "chroot", "-t", "said", str(tmp_path))
    assert built.returncode == 0, built.stderr
    shown = run_buildah(tmp_path, "inspect", "--type", "image", "said")
    configured = json.loads(shown.stdout)["Docker"]["config"]
    health, command = (next(each for each in stage if each.name == name) for name in ("HEALTHCHECK", "CMD"))
    assert configured["Healthcheck"]["Test"] == ["CMD", *health.command]
    assert configured["Cmd"] == command.command
    assert configured["User"] == next(each.words for each in stage if each.name == "USER")
    assert list(configured["Volumes"]) == ["/data"]
    assert "STATE_DIR=/data" in configured["Env"]
