"""What a deployment has trained: weights from its own labels, and calibrations, as files beside its ledger.

They are in the folder ``judge`` of the state directory, and used where they are there: ``TAXONOMY.npz`` in place of the
shipped weights, ``calibration.json`` at the gate. Both name their version, and are refused where they were damaged.
"""

import json
from pathlib import Path
from typing import Final

from bandstand.atomic_file import replace_file
from bandstand.errors import ConfigurationError
from bandstand.judge.calibration import Calibrations
from bandstand.judge.local.classifier import Weights
from bandstand.judge.taxonomy import Taxonomy

_FOLDER: Final = "judge"
_CALIBRATION: Final = "calibration.json"


def get_weights_path(state_dir: Path, taxonomy: Taxonomy) -> Path:
    """Where the weights that a deployment trained for a taxonomy are."""
    return state_dir / _FOLDER / f"{taxonomy.name}.npz"


def get_calibration_path(state_dir: Path) -> Path:
    """Where a deployment's calibrations are."""
    return state_dir / _FOLDER / _CALIBRATION


def read_weights(state_dir: Path, taxonomy: Taxonomy) -> Weights | None:
    """Read the weights that a deployment trained for a taxonomy; None if it trained none.

    Raises:
        ConfigurationError: the file cannot be read, was damaged, or is for other labels.
    """
    path = get_weights_path(state_dir, taxonomy)
    content = _read_file(path)
    if content is None:
        return None
    try:
        weights = Weights.from_bytes(content)
        weights.require_labels_of(taxonomy)
    except ConfigurationError as error:
        raise ConfigurationError(f"{str(path)!r}: {error.detail}") from error
    return weights


def read_calibrations(state_dir: Path) -> Calibrations:
    """Read a deployment's calibrations; none where it fitted none.

    Raises:
        ConfigurationError: the file cannot be read, or is not what was written.
    """
    path = get_calibration_path(state_dir)
    content = _read_file(path)
    if content is None:
        return Calibrations()
    try:
        return Calibrations.from_json(json.loads(content))
    except ValueError as error:
        raise ConfigurationError(f"{str(path)!r} is not JSON") from error
    except ConfigurationError as error:
        raise ConfigurationError(f"{str(path)!r}: {error.detail}") from error


def write_file(path: Path, content: bytes) -> None:
    """Write one of these files in one step, so that a service that starts meanwhile reads the old or the new.

    Raises:
        ConfigurationError: it cannot be written.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with replace_file(path) as partial:
            partial.write_bytes(content)
    except OSError as error:
        raise ConfigurationError(f"{str(path)!r} cannot be written: {error.strerror}") from error


def _read_file(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigurationError(f"{str(path)!r} cannot be read: {error.strerror}") from error
