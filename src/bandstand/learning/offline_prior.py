"""A population prior learned from every user of a ledger, in parts: what each user taught, and the fit to all of it.

A running service learns from a sample of bounded size. This reads them all, which the service then takes up at its next
start as it takes up a prior of its own: it names whom it was learned from, so that an erasure makes it again.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import zstandard

from bandstand.atomic_file import replace_file
from bandstand.bandit.disjoint import state_from_json
from bandstand.bandit.policies import Policy
from bandstand.bandit.reservoir import compute_capacity, compute_sampling_key
from bandstand.bandit.ridge import RidgeState
from bandstand.errors import InvalidRequestError
from bandstand.learning.taught_users import TaughtUsers
from bandstand.store.learners.erasure import compute_tombstone
from bandstand.store.sqlite.errors import storage_errors

VERSION: Final = 1
_MAX_LINEAGE: Final = 100


class UserRange(NamedTuple):
    """Users of a part: those whose keys in the ledger are above ``after``, up to ``until``."""

    after: int
    until: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorPlan:
    """Which users make which part.

    Attributes:
        policy: whose prior is learned.
        definition: hash of the policy and its schema.
        ledger: the tombstone of no user, which identifies the ledger.
        parts: numbered from 0.
    """

    policy: str
    definition: str
    ledger: str
    parts: tuple[UserRange, ...]

    @property
    def digest(self) -> str:
        """SHA-256 of everything in it."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    def to_text(self) -> str:
        """Return it as JSON, with its digest."""
        return json.dumps({"version": VERSION, "digest": self.digest, "plan": asdict(self)}, indent=1)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what :meth:`to_text` returned from a file.

        Raises:
            InvalidRequestError: it is not there, no plan of a prior, or changed since.
        """
        try:
            document = json.loads(path.read_bytes())
            if document["version"] != VERSION:
                raise InvalidRequestError(f"{path}: is a plan of another version; this build reads {VERSION}")
            body = document["plan"]
            plan = cls(**{**body, "parts": tuple(UserRange(*each) for each in body["parts"])})
        except OSError as error:
            raise InvalidRequestError(f"{path}: {error.strerror}") from None
        except (ValueError, KeyError, TypeError):
            raise InvalidRequestError(f"{path}: is no plan of a prior") from None
        if plan.digest != document["digest"]:
            raise InvalidRequestError(f"{path}: was changed since it was planned; plan again")
        return plan

    def get_part(self, number: int) -> UserRange:
        """The part of that number.

        Raises:
            InvalidRequestError: there is none.
        """
        if not 0 <= number < len(self.parts):
            raise InvalidRequestError(f"there is no part {number}: the plan's are 0 to {len(self.parts) - 1}")
        return self.parts[number]

    def require_same(self, users: TaughtUsers, policy: Policy) -> None:
        """Refuse another ledger, and a policy that has changed.

        Raises:
            InvalidRequestError: it is not that of the plan.
        """
        if _compute_ledger_id(users) != self.ledger:
            raise InvalidRequestError(f"{users.name} is not the state directory of the plan")
        if _compute_definition(policy) != self.definition:
            raise InvalidRequestError(f"policy {policy.name} is not defined here as it was planned; plan again")


class FittedPrior(NamedTuple):
    """A prior that was written where the service reads it.

    Attributes:
        policy: whose it is.
        generation: how often that was learned, with this.
        users: it was learned from.
        rewards: that they had given.
        gone: users of the parts who have gone since, and are not in it.
    """

    policy: str
    generation: int
    users: int
    rewards: int
    gone: int


def plan_prior(users: TaughtUsers, policy: Policy, count: int) -> PriorPlan:
    """Cut the users of a ledger into at most so many parts of about equal size.

    Raises:
        InvalidRequestError: the policy learns no prior, or there are no users.
    """
    if not policy.learns_prior:
        raise InvalidRequestError(f"policy {policy.name} learns no prior from its users")
    uids = users.list_keys()
    if not uids:
        raise InvalidRequestError("the ledger knows no users")
    size = -(-len(uids) // count)
    ends = [uids[min(start + size, len(uids)) - 1] for start in range(0, len(uids), size)]
    parts = tuple(UserRange(after, until) for after, until in zip([0, *ends[:-1]], ends, strict=True))
    return PriorPlan(
        policy=policy.name, definition=_compute_definition(policy), ledger=_compute_ledger_id(users), parts=parts
    )


def write_user_sums(
    users: TaughtUsers, plan: PriorPlan, number: int, policy: Policy, path: Path, tick: Callable[[], None]
) -> int:
    """Write what each user of a part has taught the policy, out of the ledger; returns how many there are.

    Raises:
        InvalidRequestError: there is no such part, or the ledger or the policy is not the plan's.
        StorageFullError, StorageUnavailableError: the disk refused.
    """
    part = plan.get_part(number)
    plan.require_same(users, policy)
    count = 0
    with storage_errors(path), replace_file(path) as partial:
        partial.touch(mode=0o600)  # it is about people
        with partial.open("wb") as file, zstandard.ZstdCompressor().stream_writer(file) as packed:
            packed.write(_to_line({"plan": plan.digest, "part": number, "seq": users.find_last_seq()}))
            for user_id, sums in _iter_sums(users, policy, part, tick):
                packed.write(_to_line([user_id, sums.to_json()]))
                count += 1
            packed.write(_to_line({"users": count}))
    return count


def fit_offline_prior(users: TaughtUsers, plan: PriorPlan, policy: Policy, paths: Sequence[Path]) -> FittedPrior:
    """Fit the prior to the users of all parts, and put it where the service takes it up.

    Args:
        users: of the ledger; a state directory is owned.
        plan: the plan.
        policy: whose prior it is.
        paths: what was written of each part, in any order.

    Raises:
        InvalidRequestError: a part is of another plan, there twice, damaged or missing; names it.
    """
    plan.require_same(users, policy)
    members: dict[str, RidgeState] = {}
    found: dict[int, Path] = {}
    seqs: list[int] = []
    for path in paths:
        lines = _read_lines(path)
        header = next(lines, None)
        if not isinstance(header, dict) or not isinstance(header.get("part"), int):
            raise InvalidRequestError(f"{path}: is not what users of a part have taught")
        number = header["part"]
        if header.get("plan") != plan.digest:
            raise InvalidRequestError(f"{path}: is of another plan")
        plan.get_part(number)
        if number in found:
            raise InvalidRequestError(f"{path}: is part {number}, as {found[number]} is")
        found[number] = path
        seqs.append(int(header["seq"]))
        members.update(_read_members(path, lines))
    missing = [str(number) for number in range(len(plan.parts)) if number not in found]
    if missing:
        parts = f"part {missing[0]} is" if len(missing) == 1 else f"parts {', '.join(missing)} are"
        raise InvalidRequestError(f"{parts} missing, of {len(plan.parts)}")
    seq = min(seqs)
    kept = {user_id: sums for user_id, sums in sorted(members.items()) if users.is_there(user_id, seq)}
    if not kept:
        raise InvalidRequestError(f"no user has taught policy {policy.name} anything yet")
    generation = _install(users, policy, kept, seq)
    return FittedPrior(
        policy.name, generation, len(kept), sum(sums.count for sums in kept.values()), len(members) - len(kept)
    )


def _iter_sums(
    users: TaughtUsers, policy: Policy, part: UserRange, tick: Callable[[], None]
) -> Iterator[tuple[str, RidgeState]]:
    key = (policy.name, policy.schema.name)
    for profile in users.iter_profiles(part.after, part.until):
        tick()
        learned = None if profile is None else profile.policies.get(key)
        if profile is not None and learned is not None and learned.ridge is not None:
            yield profile.user_id, learned.ridge


def _install(users: TaughtUsers, policy: Policy, members: Mapping[str, RidgeState], seq: int) -> int:
    """Write the prior as the service would; returns its generation."""
    prior, before = policy.fit_prior(members), users.read_prior(policy.name)
    if before is not None and before.get("schema_hash") != policy.schema.hash:
        before = None
    lineage = [] if before is None else [*before["lineage"], _build_entry(before)][-_MAX_LINEAGE:]
    secret, capacity = users.secret, compute_capacity(policy.sums_width)
    sample = frozenset(sorted(members, key=lambda user_id: compute_sampling_key(secret, user_id))[:capacity])
    generation = (0 if before is None else int(before["generation"])) + 1
    body = {
        "schema": policy.schema.name,
        "schema_hash": policy.schema.hash,
        "generation": generation,
        "parent": None if before is None else before["checksum"],
        "seq": seq,
        "learned_at": datetime.fromtimestamp(time.time(), UTC).isoformat(),
        "lineage": lineage,
        **prior.to_json(),
        "members": sorted(sample),
        "former": sorted(members.keys() - sample),
    }
    users.write_prior(policy.name, body)
    return generation


def _build_entry(document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: document[name] for name in ("generation", "checksum", "seq", "learned_at", "users", "rewards")}


def _read_lines(path: Path) -> Iterator[Any]:
    try:
        with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as unpacked:
            rest = b""
            while chunk := unpacked.read(1 << 20):
                *lines, rest = (rest + chunk).split(b"\n")
                yield from map(json.loads, lines)
    except OSError as error:
        raise InvalidRequestError(f"{path}: {error.strerror}") from None
    except (ValueError, zstandard.ZstdError):
        raise InvalidRequestError(f"{path}: is not what users of a part have taught, or not all of it") from None


def _read_members(path: Path, lines: Iterable[Any]) -> Iterator[tuple[str, RidgeState]]:
    users, count = 0, -1
    for line in lines:
        if isinstance(line, dict):
            count = line.get("users", -1)
        else:
            user_id, sums = line
            users += 1
            yield str(user_id), state_from_json(sums)
    if users != count:
        raise InvalidRequestError(f"{path}: is not what users of a part have taught, or not all of it")


def _compute_definition(policy: Policy) -> str:
    return f"{policy.hash}/{policy.schema.hash}"


def _compute_ledger_id(users: TaughtUsers) -> str:
    return compute_tombstone(users.secret, "").hex()


def _to_line(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"
