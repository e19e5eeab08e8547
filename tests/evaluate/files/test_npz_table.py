"""Arrays of the Open Bandit Pipeline, saved by numpy: the estimates are those of the arrays."""

import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bandstand.evaluate import EvaluationError, Formula, dr, snips
from bandstand.evaluate.files.npz_table import NpzTable
from bandstand.evaluate.spec import EvaluationSpec, evaluate_rows
from tests.evaluate.world import World

LOG = World().draw_log(500, seed=3)
K = LOG.target.shape[1]
SLOTS = np.arange(500) % 3
FEEDBACK: dict[str, Any] = {
    "n_rounds": 500,
    "n_actions": K,
    "action": LOG.action,
    "position": None,
    "reward": LOG.reward,
    "pscore": LOG.propensity,
}


def in_slots(array: Any) -> Any:
    """(n, K, 3), right in the slot of each row and wrong elsewhere."""
    spread = np.full((*array.shape, 3), 1.0)
    spread[np.arange(len(array)), :, SLOTS] = array
    return spread


SHAPED: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "flat": (lambda array: array, None),
    "one slot": (lambda array: array[:, :, np.newaxis], None),
    "three slots": (in_slots, SLOTS),
}


@pytest.mark.parametrize("shape", SHAPED)
def test_feedback_with_a_policy_s_distribution_is_a_log_of_rows(tmp_path: Path, shape: str) -> None:
    put, position = SHAPED[shape]
    more = {"action_dist": put(LOG.target), "estimated_rewards_by_reg_model": put(LOG.q_hat), "position": position}
    np.savez(tmp_path / "log.npz", **FEEDBACK | more)
    spec = EvaluationSpec((Formula.named("snips"), Formula.named("dr")))
    found = evaluate_rows(spec, tmp_path / "log.npz").estimates
    assert found["dr"].value == pytest.approx(dr(*LOG).value, rel=1e-12)
    assert found["snips"].value == pytest.approx(snips(*LOG[:4]).value, rel=1e-12)


def test_estimators_take_an_axis_of_one_slot() -> None:
    whole = dr(*LOG)
    assert dr(*LOG[:3], LOG.target[:, :, np.newaxis], LOG.q_hat[:, :, np.newaxis]) == whole


def test_an_array_with_named_fields_is_a_log_of_rows(tmp_path: Path) -> None:
    chosen = LOG.target[np.arange(500), LOG.action]
    rows = np.empty(500, dtype=[("reward", float), ("propensity", float), ("target", float)])
    rows["reward"], rows["propensity"], rows["target"] = LOG.reward, LOG.propensity, chosen
    np.save(tmp_path / "log.npy", rows)
    found = evaluate_rows(EvaluationSpec((Formula.named("snips"),)), tmp_path / "log.npy").estimates["snips"]
    assert found.value == pytest.approx(snips(*LOG[:4]).value, rel=1e-12)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"pscore": LOG.propensity * 2}, "pscore) is not in (0, 1]|pi_b|propensity is"),
        ({"pi_b": np.full((500, K, 1), 1 / K)}, "propensity is"),
        ({"action_dist": np.ones((500, K, 3))}, "has 3 slots; an array 'position' must say which each row had"),
        ({"action_dist": np.ones((500, K, 3)), "position": SLOTS + 1}, "'position' is not in [0, 3) in row 2"),
    ],
)
def test_what_contradicts_itself_is_refused(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "log.npz", **FEEDBACK | {"action_dist": LOG.target} | changed)
    with pytest.raises(EvaluationError, match="|".join(map(re.escape, message.split("|")))):
        evaluate_rows(EvaluationSpec((Formula.named("ips"),)), tmp_path / "log.npz")


def test_python_objects_are_never_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "log.npy", np.array(FEEDBACK, dtype=object), allow_pickle=True)
    with pytest.raises(EvaluationError, match="it holds Python objects, not arrays"):
        NpzTable(tmp_path / "log.npy").read_header()


@pytest.mark.parametrize(("name", "data"), [("log.npz", b"PK\x03\x04nothing"), ("log.npy", b""), ("log.npy", b"abc")])
def test_what_numpy_did_not_write_is_one_error(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(EvaluationError):
        NpzTable(tmp_path / name).read_header()


def test_a_spreadsheet_is_told_from_arrays(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "log.xlsx", "w") as archive:
        archive.writestr("xl/worksheets/sheet1.xml", "<worksheet/>")
    with pytest.raises(EvaluationError, match="of a spreadsheet, export the sheet as CSV"):
        evaluate_rows(EvaluationSpec((Formula.named("ips"),)), tmp_path / "log.xlsx")


def test_an_array_without_names_says_how_to_save_one(tmp_path: Path) -> None:
    np.save(tmp_path / "log.npy", LOG.target)
    with pytest.raises(EvaluationError, match=r"numpy.savez\(FILE, reward=…"):
        NpzTable(tmp_path / "log.npy").read_header()
