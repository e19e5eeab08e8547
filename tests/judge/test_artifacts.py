import json
from pathlib import Path

import pytest

from bandstand.errors import ConfigurationError
from bandstand.judge.artifacts import calibration_path, keep, own_calibrations, own_weights, weights_path
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
    assert own_weights(tmp_path, FOLLOWUP) is None
    assert own_calibrations(tmp_path) == Calibrations()


def test_weights_are_read_back_as_they_were_kept(tmp_path: Path) -> None:
    shipped = shipped_weights("followup-v1")
    keep(weights_path(tmp_path, FOLLOWUP), shipped.to_bytes())
    own = own_weights(tmp_path, FOLLOWUP)
    assert own is not None
    assert own.hash == shipped.hash
    assert own_weights(tmp_path, CORRECTION) is None


def test_calibrations_are_read_back_as_they_were_kept(tmp_path: Path) -> None:
    kept = Calibrations((FITTED,))
    keep(calibration_path(tmp_path), json.dumps(kept.as_json()).encode())
    assert own_calibrations(tmp_path) == kept


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
    path = calibration_path(tmp_path)
    keep(path, content)
    with pytest.raises(ConfigurationError, match=r"calibration\.json"):
        own_calibrations(tmp_path)


def test_broken_weights_and_those_of_other_labels_are_refused_by_their_path(tmp_path: Path) -> None:
    path = weights_path(tmp_path, FOLLOWUP)
    damaged = bytearray(shipped_weights("followup-v1").to_bytes())
    damaged[len(damaged) // 2] ^= 0xFF
    for content in (b"no weights", bytes(damaged), shipped_weights("correction-v1").to_bytes()):
        keep(path, content)
        with pytest.raises(ConfigurationError, match=r"followup-v1\.npz"):
            own_weights(tmp_path, FOLLOWUP)


def test_what_cannot_be_written_or_read_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "judge").write_text("in the way")
    with pytest.raises(ConfigurationError, match="cannot be written"):
        keep(calibration_path(tmp_path), b"{}")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        own_calibrations(tmp_path)


def test_a_write_leaves_nothing_half_done_behind(tmp_path: Path) -> None:
    path = calibration_path(tmp_path)
    keep(path, b"one")
    keep(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]
