"""Undo: take rewards back out of what they taught, and learn the priors again without them."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from bandstand.errors import InvalidRequestError
from bandstand.service.context import Deployment, iso
from bandstand.store.tables.undo import Selected, Selection, Undone

CAUSE = "undo"
"""What the ledger says of a reward that an operator took back, beside who and when."""


_TIMES = ("since", "until")
_FIRST, _LAST = -62_135_596_800.0, 253_402_300_799.0  # years 1 to 9999: a zone may reach beyond


class _Done(NamedTuple):
    """What was taken back: how many rewards of how many users, of which policies, and whose prior was learned again."""

    rewards: int
    users: int
    policies: Mapping[str, int]
    priors: list[str]


_under_way = set["asyncio.Future[_Done]"]()  # the loop alone would forget them


async def undo(deployment: Deployment, selection: Selection, client: str, *, dry_run: bool = False) -> dict[str, Any]:
    """Take back the rewards that fit the selection: all of them in one commit, or none.

    State is then what it would be had they never come; what was decided meanwhile, caps included, stays decided.
    Idempotent: what was taken back before is passed over.

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
    _require_sense(selection)
    found = await deployment.store.selected(selection)
    if dry_run:
        done = _Done(len(found.held), found.users, found.policies, [])
    else:
        taking = asyncio.ensure_future(_take_back(deployment, selection, found, client))
        _under_way.add(taking)
        taking.add_done_callback(_under_way.discard)
        done = await asyncio.shield(taking)  # whoever hangs up after the commit must not leave the priors behind
    return {
        "ok": True,
        "dry_run": dry_run,
        **done._asdict(),
        "passed_over": {"revoked_before": found.already, "forgotten": found.forgotten, "never_taught": found.void},
        "out_of_reach": {"users": found.beyond, "until": iso(found.reaches_back)},
    }


async def done(deployment: Deployment, before: int, limit: int) -> dict[str, Any]:
    """A page of the records of undos, the newest first: who asked, when, what was meant, and how much it was."""
    page = await deployment.store.undone(before, limit + 1)
    return {
        "revocations": [_record(each) for each in page[:limit]],
        "next": page[limit - 1].seq if len(page) > limit else None,
    }


def _record(undone: Undone) -> dict[str, Any]:
    selection = {
        name: iso(min(max(value, _FIRST), _LAST)) if name in _TIMES and isinstance(value, float) else value
        for name, value in undone.selection.items()
    }
    return {
        "ts": iso(undone.ts),
        "by": undone.client,
        "selection": selection,
        "rewards": undone.rewards,
        "users": undone.users,
        "policies": dict(undone.policies),
    }


async def _take_back(deployment: Deployment, selection: Selection, found: Selected, client: str) -> _Done:
    store = deployment.store
    taken = await store.revoke(found.held, cause=CAUSE, client=client, selection=selection)
    whose = {each.user_id for each in taken}
    policies = Counter(each.policy.name for each in taken)
    priors = await deployment.population.revoked(whose, store.next_seq(deployment.clock())) if taken else []
    return _Done(len(taken), len(whose), dict(sorted(policies.items())), priors)


def _require_sense(selection: Selection) -> None:
    if not selection.given():
        raise InvalidRequestError("give a decision, a client, a judge version, a beginning or an end")
    if selection.since is not None and selection.until is not None and selection.until <= selection.since:
        raise InvalidRequestError("until must be after since")
