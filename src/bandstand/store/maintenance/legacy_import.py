"""States of the contract's first implementation: files ``NAME.json`` and ``NAME_egreedy.json`` with A, b and meta.

A = I + Σ x xᵀ and b = Σ r x (contract A3). The size says which policy a file holds: 5×5 is linucb-v1, 7×7 is
egreedy-v1. A 7×7 file called ``NAME_egreedy.json`` is of the user whose LinUCB state is ``NAME.json``. User ids were
folded into file names (``a.b`` and ``a_b`` shared one), so a list of the real ids, or of ids by NAME, may be given.
"""

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from bandstand.bandit.policy_state import PolicyState
from bandstand.bandit.profile import Profile, StateKey
from bandstand.bandit.ridge import RidgeState
from bandstand.errors import InvalidRequestError
from bandstand.store.maintenance.export import BOM, ImportSource, Moment, UserId, describe_error
from bandstand.store.maintenance.import_ import is_positive_semidefinite

_KEY_BY_SIZE: dict[int, StateKey] = {5: ("linucb-v1", "tips-5"), 7: ("egreedy-v1", "tips-7")}
_EGREEDY_SUFFIX = "_egreedy"
_TOLERANCE = 1e-5
"""Relative, for symmetry and negative eigenvalues: some files were written from float32, whose sums of a thousand terms
are off by this much."""
_USER_ID: TypeAdapter[str] = TypeAdapter(UserId)
_Count = Annotated[int, Field(ge=0, lt=2**63)]


class _Meta(BaseModel):
    model_config = ConfigDict(allow_inf_nan=False, hide_input_in_errors=True)

    pulls: _Count = 0
    explore_count: _Count = 0
    reward_count: _Count = 0
    cumulative_reward: float = 0.0
    last_updated: Moment | None = None


class _File(BaseModel):
    model_config = ConfigDict(allow_inf_nan=False, hide_input_in_errors=True)

    A: list[list[float]]
    b: list[float]
    meta: _Meta = _Meta()


def read_v1(paths: Sequence[Path], ids: Mapping[str, str] | None = None) -> Iterator[ImportSource]:
    """Read files, and folders of files at any depth; the two files of one user become one state.

    Args:
        paths: ``NAME.json`` files, or folders of them.
        ids: user ids by NAME, without ``_egreedy``; another NAME is the user's id itself.

    Raises:
        InvalidRequestError: a path is not there, or a folder holds no such file.
    """
    given = ids or {}
    return _read_sources(list(_find_files(paths)), lambda name: given.get(name, name))


def read_v1_of_users(paths: Sequence[Path], user_ids: Sequence[str]) -> Iterator[ImportSource]:
    """Read files as :func:`read_v1` does, where the users' real ids are known but not their file names.

    A file whose NAME is no user's, or more than one user's, is a source with a fault that says so.

    Args:
        paths: ``NAME.json`` files, or folders of them.
        user_ids: every user of the first implementation.

    Raises:
        InvalidRequestError: a path is not there, or a folder holds no such file.
    """
    users: dict[str, list[str]] = {}
    for user_id in dict.fromkeys(user_ids):
        users.setdefault(fold_user_id(user_id), []).append(user_id)

    def find_user(name: str) -> str:
        found = users.get(name, [])
        if not found:
            raise ValueError("no id in the list of users has this file name")
        if len(found) > 1:
            raise ValueError(f"{' and '.join(map(ascii, found))} shared this file: name the one it is to be with --ids")
        return found[0]

    return _read_sources(list(_find_files(paths)), find_user)


def fold_user_id(user_id: str) -> str:
    """Return the NAME under which the first implementation kept a user: all that is not alphanumeric became ``_``.

    >>> fold_user_id("ada.b@example.org")
    'ada_b_example_org'
    """
    return "".join(character if character.isalnum() else "_" for character in user_id)


def _read_sources(files: Sequence[Path], find_user: Callable[[str], str]) -> Iterator[ImportSource]:
    merged: dict[str, tuple[Profile, list[Path]]] = {}
    for path in files:
        try:
            key, state = _read_file(path)
            user_id = find_user(_parse_name(path, key))
            _USER_ID.validate_python(user_id)
        except ValidationError as error:
            yield ImportSource(str(path), fault=describe_error(error))
            continue
        except (ValueError, OSError) as error:
            yield ImportSource(str(path), fault=str(error))
            continue
        profile, sources = merged.setdefault(user_id, (Profile(user_id), []))
        if key in profile.policies:
            others = ", ".join(str(source) for source in sources)
            yield ImportSource(str(path), fault=f"holds {key[0]} of a user that has it from {others}")
            continue
        profile.policies[key] = state
        sources.append(path)
    for profile, sources in merged.values():
        yield ImportSource(", ".join(str(source) for source in sources), profile)


def _parse_name(path: Path, key: StateKey) -> str:
    """Return the NAME of a file; that of an ε-greedy state may have a suffix of its own."""
    return path.stem.removesuffix(_EGREEDY_SUFFIX) if key == _KEY_BY_SIZE[7] else path.stem


def read_user_ids(path: Path) -> list[str]:
    """Read a list of user ids: a JSON array of strings, or one id a line.

    Raises:
        InvalidRequestError: it cannot be read, or holds something else.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        user_ids = json.loads(text) if text.lstrip().startswith("[") else text.splitlines()
    except OSError as error:
        raise InvalidRequestError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise InvalidRequestError(f"{path}: {error}") from error
    if not all(isinstance(user_id, str) for user_id in user_ids):
        raise InvalidRequestError(f"{path}: must be a list of user ids, as text")
    return [user_id for user_id in user_ids if user_id.strip()]


def read_ids(path: Path) -> dict[str, str]:
    """Read a list of users: a JSON object of NAME to user id, or rows "NAME,user_id" separated by commas or tabs.

    Raises:
        InvalidRequestError: it is neither, or names one NAME twice.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        pairs = json.loads(text, object_pairs_hook=list) if text.lstrip().startswith("{") else _parse_rows(text)
        return _parse_ids(pairs)
    except OSError as error:
        raise InvalidRequestError(f"{path}: {error.strerror}") from error
    except (ValueError, csv.Error) as error:
        raise InvalidRequestError(f"{path}: {error}") from error


def _parse_rows(text: str) -> list[Sequence[Any]]:
    rows = csv.reader(text.splitlines(), delimiter="\t" if "\t" in text else ",")
    return [[cell.strip() for cell in row] for row in rows if row]


def _parse_ids(pairs: Sequence[Sequence[Any]]) -> dict[str, str]:
    ids: dict[str, str] = {}
    for number, pair in enumerate(pairs, start=1):
        if len(pair) != 2 or not all(isinstance(part, str) and part for part in pair):  # noqa: PLR2004 (a pair)
            raise ValueError(f"entry {number} is not a name and a user id")
        if pair[0] in ids:
            raise ValueError(f"entry {number} has a name that an earlier one has")
        ids[pair[0]] = pair[1]
    return ids


def _find_files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if not path.is_dir():
            if not path.is_file():
                raise InvalidRequestError(f"{path}: no such file")
            yield path
            continue
        inside = sorted(path.rglob("*.json"))
        if not inside:
            raise InvalidRequestError(f"{path}: holds no .json file")
        yield from inside


def _read_file(path: Path) -> tuple[StateKey, PolicyState]:
    file = _File.model_validate_json(path.read_bytes().removeprefix(BOM))
    d = len(file.b)
    if d not in _KEY_BY_SIZE:
        raise ValueError(f"b has {d} numbers; linucb-v1 has 5 and egreedy-v1 has 7")
    if len(file.A) != d or any(len(row) != d for row in file.A):
        raise ValueError(f"A is not {d}×{d}, as b says")
    a, b = np.array(file.A), np.array(file.b)
    if np.abs(a - a.T).max() > _TOLERANCE * max(1.0, float(np.abs(a).max())):
        raise ValueError("A is not symmetric")
    gram = _to_positive_semidefinite((a + a.T) / 2.0 - np.eye(d))
    return _KEY_BY_SIZE[d], _build_state(gram, b, file.meta)


def _to_positive_semidefinite(gram: Any) -> Any:
    """Return the nearest positive semi-definite matrix: A − I itself, but for what rounding made negative."""
    if is_positive_semidefinite(gram):
        return gram
    values, vectors = np.linalg.eigh(gram)
    if values[0] < -_TOLERANCE * max(1.0, float(values[-1])):
        raise ValueError("A − I is not positive semi-definite")
    nearest = (vectors * np.maximum(values, 0.0)) @ vectors.T
    return (nearest + nearest.T) / 2.0


def _build_state(gram: Any, b: Any, meta: _Meta) -> PolicyState:
    state = PolicyState()
    state.pulls = meta.pulls
    state.explores = meta.explore_count
    state.reward_count = meta.reward_count
    state.cumulative_reward = meta.cumulative_reward
    state.last_updated = meta.last_updated
    # sin² + cos² = 1: the hour's two columns have counted the rewards in the sums, whatever the counters say.
    weight = max(0.0, float(gram[0, 0] + gram[1, 1]))
    state.ridge = RidgeState.from_sums(gram, b, None, weight, round(weight))
    return state
