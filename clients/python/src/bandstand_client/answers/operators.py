"""What operators are answered.

Written by ``tools/write_client.py`` from the service's ``openapi.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bandstand_client.reading import Answer


@dataclass(frozen=True, kw_only=True)
class Ok(Answer):
    """Done.

    Example:
        >>> client.reset("ada").ok
        True
    """

    ok: bool


@dataclass(frozen=True, kw_only=True)
class Erasure(Answer):
    """The receipt of an erasure.

    Attributes:
        erased: how much of each kind went.
        unreachable: what may still hold something and cannot be reached from here.
        loops: the same by loop, where there are others than the default one.

    Example:
        >>> decision = client.score("ada", ["tea", "coffee"])
        >>> client.erase("ada").erased["decisions"]
        1
    """

    ok: bool
    erased: Mapping[str, int]
    unreachable: tuple[str, ...]
    loops: Mapping[str, Mapping[str, int]] | None = None


@dataclass(frozen=True, kw_only=True)
class KnownUser(Answer):
    """A known user.

    Example:
        >>> decision = client.score("ada", ["tea", "coffee"])
        >>> client.users(prefix="ada").users[0].user_id
        'ada'
    """

    user_id: str


@dataclass(frozen=True, kw_only=True)
class Users(Answer):
    """A page of known users.

    Attributes:
        next: the `after` of the next page; null on the last.

    Example:
        >>> decision = client.score("ada", ["tea", "coffee"])
        >>> client.users(prefix="ada").next is None
        True
    """

    users: tuple[KnownUser, ...]
    next: int | None = None


@dataclass(frozen=True, kw_only=True)
class PassedOver(Answer):
    """Rewards that fit, and that no sums hold.

    Attributes:
        forgotten: of users who were reset, or imported, since.

    Example:
        >>> client.revoke(client="nobody", dry_run=True).passed_over.forgotten
        0
    """

    revoked_before: int
    forgotten: int
    never_taught: int


@dataclass(frozen=True, kw_only=True)
class OutOfReach(Answer):
    """What may match and can no longer be told apart: it is in the state that retention kept in place of events.

    Attributes:
        until: the newest moment for which that is so.

    Example:
        >>> client.revoke(client="nobody", dry_run=True).out_of_reach.users
        0
    """

    users: int
    until: str | None = None


@dataclass(frozen=True, kw_only=True)
class Revocation(Answer):
    """What was taken back, or with `dry_run` would be.

    Attributes:
        policies: rewards by policy.
        priors: policies whose population prior was learned again; none in a dry run.

    Example:
        >>> client.revoke(client="nobody", dry_run=True).rewards
        0
    """

    ok: bool
    dry_run: bool
    rewards: int
    users: int
    policies: Mapping[str, int]
    priors: tuple[str, ...]
    passed_over: PassedOver
    out_of_reach: OutOfReach


@dataclass(frozen=True, kw_only=True)
class RevocationSelection(Answer):
    """What was meant: the fields of the request that were given.

    Example:
        >>> decision = client.score("ada", ["tea", "coffee"])
        >>> decision.reward(1.0).applied
        True
        >>> client.revoke(decision_id=decision.id).rewards
        1
        >>> client.revocations().revocations[0].selection.decision_id == decision.id
        True
    """

    decision_id: str | None = None
    client: str | None = None
    judge_version: str | None = None
    since: str | None = None
    until: str | None = None


@dataclass(frozen=True, kw_only=True)
class RevocationRecord(Answer):
    """The record of rewards that were taken back.

    Attributes:
        by: name of the API key that asked.
        policies: rewards by policy.

    Example:
        >>> decision = client.score("ada", ["tea", "coffee"])
        >>> decision.reward(1.0).applied
        True
        >>> client.revoke(decision_id=decision.id).rewards
        1
        >>> client.revocations().revocations[0].rewards
        1
    """

    ts: str
    by: str
    selection: RevocationSelection
    rewards: int
    users: int
    policies: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Revocations(Answer):
    """A page of records, the newest first.

    Attributes:
        next: the `before` of the next page; null on the last.

    Example:
        >>> len(client.revocations(limit=1).revocations) <= 1
        True
    """

    revocations: tuple[RevocationRecord, ...]
    next: int | None = None


@dataclass(frozen=True, kw_only=True)
class ReactionTableUsed(Answer):
    """The loop's present table of reactions.

    Example:
        >>> client.reapply_reactions().table.name
        'contract-v1'
    """

    name: str
    version: int
    hash: str


@dataclass(frozen=True, kw_only=True)
class ReactionsReapplied(Answer):
    """What was revised, or in a dry run would be.

    Attributes:
        reactions: looked at.
        revised: worth something else now: taken back, and taught so.
        unmapped: of which the table says nothing; they stay as they are.
        users: of those that were revised.
        priors: policies whose population prior was learned again; none in a dry run.

    Example:
        >>> client.reapply_reactions().revised
        0
    """

    ok: bool
    dry_run: bool
    table: ReactionTableUsed
    reactions: int
    revised: int
    unchanged: int
    unmapped: int
    users: int
    priors: tuple[str, ...]
    passed_over: PassedOver
    out_of_reach: OutOfReach
