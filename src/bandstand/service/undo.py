"""Undo: take rewards back out of what they taught, and learn the priors again without them."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from bandstand.errors import InvalidRequestError
from bandstand.service.context import ServiceContext, format_time
from bandstand.store.tables.undo import SelectedRewards, Selection, UndoRecord

CAUSE = "undo"
"""What the ledger says of a reward that an operator took back, beside who and when."""


_TIMES = ("since", "until")


@dataclass(frozen=True, slots=True, kw_only=True)
class SkippedRewards:
    """Rewards that fit the selection, and that no sums hold: taken back before, forgotten since, or never taught."""

    revoked_before: int
    forgotten: int
    never_taught: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreachableUsers:
    """Users whose older rewards are part of a baseline; ``until`` is the newest moment for which that is so."""

    users: int
    until: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoResult:
    """What was taken back, or in a dry run would be.

    Attributes:
        policies: rewards by policy.
        priors: policies whose population prior was learned again; none in a dry run.
    """

    ok: Literal[True] = True
    dry_run: bool
    rewards: int
    users: int
    policies: Mapping[str, int]
    priors: Sequence[str]
    passed_over: SkippedRewards
    out_of_reach: UnreachableUsers


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoEntry:
    """The record of one undo.

    Attributes:
        by: name of the API key of the caller.
        selection: the fields of the request that were given.
        policies: rewards by policy.
    """

    ts: str
    by: str
    selection: Mapping[str, object]
    rewards: int
    users: int
    policies: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoList:
    """A page of records of undos, the newest first; ``next`` is the ``before`` of the next page."""

    revocations: Sequence[UndoEntry]
    next: int | None


class _RevokedRewards(NamedTuple):
    """What was taken back: rewards by policy, of how many users, and the policies whose prior was learned again."""

    rewards: int
    users: int
    policies: Mapping[str, int]
    priors: list[str]


_running_tasks = set["asyncio.Future[_RevokedRewards]"]()  # the loop alone would forget them


async def undo(deployment: ServiceContext, selection: Selection, client: str, *, dry_run: bool = False) -> UndoResult:
    """Take back the rewards that fit the selection: all of them in one commit, or none.

    State is then what it would be had they never come; what was decided meanwhile, caps included, stays decided.
    Idempotent: rewards that were taken back before are skipped.

    Args:
        deployment: where.
        selection: which rewards; at least one thing must be given.
        client: who asks.
        dry_run: change nothing, and answer what would be.

    Raises:
        InvalidRequestError: nothing is given, or ``until`` is not after ``since``.
        UnknownDecisionError: there is no such decision, or no longer.
        OverloadedError, StorageFullError, StorageUnavailableError: nothing was taken back.
    """
    _validate_selection(selection)
    found = await deployment.store.select_rewards(selection)
    if dry_run:
        result = _RevokedRewards(len(found.revocable), found.users, found.policies, [])
    else:
        taking = asyncio.ensure_future(_revoke_rewards(deployment, selection, found, client))
        _running_tasks.add(taking)
        taking.add_done_callback(_running_tasks.discard)
        result = await asyncio.shield(taking)  # whoever hangs up after the commit must not leave the priors behind
    return UndoResult(
        dry_run=dry_run,
        rewards=result.rewards,
        users=result.users,
        policies=result.policies,
        priors=result.priors,
        passed_over=SkippedRewards(
            revoked_before=found.revoked_before, forgotten=found.forgotten, never_taught=found.never_taught
        ),
        out_of_reach=UnreachableUsers(users=found.out_of_reach, until=format_time(found.out_of_reach_until)),
    )


async def list_undos(deployment: ServiceContext, before: int, limit: int) -> UndoList:
    """A page of the records of undos, newest first: who undid what, when, and how much it was."""
    page = await deployment.store.list_undos(before, limit + 1)
    return UndoList(
        revocations=[_build_entry(each) for each in page[:limit]],
        next=page[limit - 1].seq if len(page) > limit else None,
    )


def _build_entry(undone: UndoRecord) -> UndoEntry:
    selection = {
        name: format_time(value) if name in _TIMES and isinstance(value, float) else value
        for name, value in undone.selection.items()
    }
    return UndoEntry(
        ts=format_time(undone.ts),
        by=undone.client,
        selection=selection,
        rewards=undone.rewards,
        users=undone.users,
        policies=undone.policies,
    )


async def _revoke_rewards(
    deployment: ServiceContext, selection: Selection, found: SelectedRewards, client: str
) -> _RevokedRewards:
    store = deployment.store
    taken = await store.revoke(found.revocable, cause=CAUSE, client=client, selection=selection)
    whose = {each.user_id for each in taken}
    policies = Counter(each.policy.name for each in taken)
    priors = await deployment.population.apply_revocation(whose, store.next_seq(deployment.clock())) if taken else []
    return _RevokedRewards(len(taken), len(whose), dict(sorted(policies.items())), priors)


def _validate_selection(selection: Selection) -> None:
    if not selection.to_dict():
        raise InvalidRequestError("give a decision, a client, a judge version, a beginning or an end")
    if selection.since is not None and selection.until is not None and selection.until <= selection.since:
        raise InvalidRequestError("until must be after since")
