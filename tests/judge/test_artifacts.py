import json
from pathlib import Path

import pytest

from bandstand.errors import ConfigurationError
from bandstand.judge.artifacts import (
    get_calibration_path,
    get_weights_path,
    read_calibrations,
    read_weights,
    write_file,
)
from bandstand.judge.calibration import Calibration, Calibrations
from bandstand.judge.local.classifier import shipped_weights
from tests.judge.given import CORRECTION, FOLLOWUP

FITTED = Calibration(
    tier="local",
    model="m@1",
    taxonomy="followup-v1",
    method="platt",
    points=((0.5, -0.25),),
    tau=0.625,
    target_precision=0.8,
    examples=100,
)


def test_what_is_not_there_is_not_used(tmp_path: Path) -> None:
    assert read_weights(tmp_path, FOLLOWUP) is None
    assert read_calibrations(tmp_path) == Calibrations()


def test_weights_are_read_back_as_they_were_kept(tmp_path: Path) -> None:
    shipped = shipped_weights("followup-v1")
    write_file(get_weights_path(tmp_path, FOLLOWUP), shipped.to_bytes())
    own = read_weights(tmp_path, FOLLOWUP)
    assert own is not None
    assert own.hash == shipped.hash
    assert read_weights(tmp_path, CORRECTION) is None


def test_calibrations_are_read_back_as_they_were_kept(tmp_path: Path) -> None:
    kept = Calibrations((FITTED,))
    write_file(get_calibration_path(tmp_path), json.dumps(kept.as_json()).encode())
    assert read_calibrations(tmp_path) == kept


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"version": 1}',
        b'{"calibrations": [1]}',
        json.dumps({"calibrations": [FITTED.as_json() | {"tau": 0.1}]}).encode(),
        json.dumps({"calibrations": [FITTED.as_json() | {"version": 2}]}).encode(),
    ],
)
def test_a_broken_calibration_is_refused_by_its_path(tmp_path: Path, content: bytes) -> None:
    path = get_calibration_path(tmp_path)
    write_file(path, content)
    with pytest.raises(ConfigurationError, match=r"calibration\.json"):
        read_calibrations(tmp_path)


def test_broken_weights_and_those_of_other_labels_are_refused_by_their_path(tmp_path: Path) -> None:
    path = get_weights_path(tmp_path, FOLLOWUP)
    damaged = bytearray(shipped_weights("followup-v1").to_bytes())
    damaged[len(damaged) // 2] ^= 0xFF
    for content in (b"no weights", bytes(damaged), shipped_weights("correction-v1").to_bytes()):
        write_file(path, content)
        with pytest.raises(ConfigurationError, match=r"followup-v1\.npz"):
            read_weights(tmp_path, FOLLOWUP)


def test_what_cannot_be_written_or_read_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "judge").write_text("in the way")
    with pytest.raises(ConfigurationError, match="cannot be written"):
        write_file(get_calibration_path(tmp_path), b"{}")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_calibrations(tmp_path)


def test_a_write_leaves_nothing_half_done_behind(tmp_path: Path) -> None:
    path = get_calibration_path(tmp_path)
    write_file(path, b"one")
    write_file(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]
