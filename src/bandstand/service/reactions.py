"""Past reactions under the present table: the old reward of each is taken back, and the new one is taught."""

import asyncio
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from bandstand.errors import InvalidRequestError
from bandstand.service.context import ServiceContext, format_time
from bandstand.service.undo import SkippedRewards, UnreachableUsers
from bandstand.store.tables.reactions import LoggedReaction

_PAGE_SIZE: Final = 1_000
_AT_ONCE: Final = 64
"""Commits that are waited for together: they share a sync, and leave the loop to others in between."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedTable:
    """Which table reactions were looked at under."""

    name: str
    version: int
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReactionRevision:
    """The result of it, or in a dry run would.

    Attributes:
        reactions: how many were looked at.
        revised: have another reward now: taken back, and taught again.
        unchanged: have the same reward.
        unmapped: are not in the table, and stay as they are.
        users: of how many users those are that were revised.
        priors: policies whose population prior was learned again; none in a dry run.
    """

    ok: Literal[True] = True
    dry_run: bool
    table: AppliedTable
    reactions: int
    revised: int
    unchanged: int
    unmapped: int
    users: int
    priors: Sequence[str]
    passed_over: SkippedRewards
    out_of_reach: UnreachableUsers


@dataclass(slots=True)
class _Survey:
    """Reactions as a table finds them; ``different`` are by what is revised together."""

    counts: Counter[str] = field(default_factory=Counter)
    different: dict[Hashable, list[LoggedReaction]] = field(default_factory=dict)


_running_tasks = set["asyncio.Future[tuple[Counter[str], list[str]]]"]()  # the loop alone would forget them


async def reapply_reactions(
    deployment: ServiceContext, client: str, *, since: float | None = None, dry_run: bool = True
) -> ReactionRevision:
    """Give every reaction that stands its reward under the loop's present table.

    Each decision is revised in one commit, and counts as taught when that is. Idempotent: what stops half-way goes on
    when it is asked for again.

    Args:
        deployment: where.
        client: who asks.
        since: seconds since the epoch; only what came then or later.
        dry_run: change nothing, and answer what would be.

    Raises:
        OverloadedError, StorageFullError, StorageUnavailableError: some are as before.
    """
    table, survey = deployment.reward_settings.reactions, await _survey(deployment, since or 0.0)
    users, until = await deployment.store.find_out_of_reach(since or 0.0)
    if dry_run:
        revised, priors = Counter(each.user_id for found in survey.different.values() for each in found), list[str]()
    else:
        revising = asyncio.ensure_future(_revise(deployment, survey.different, client))
        _running_tasks.add(revising)
        revising.add_done_callback(_running_tasks.discard)
        revised, priors = await asyncio.shield(revising)  # whoever hangs up must not leave the priors behind
    counts = survey.counts
    return ReactionRevision(
        dry_run=dry_run,
        table=AppliedTable(name=table.name, version=table.version, hash=table.hash),
        reactions=counts.total(),
        revised=revised.total(),
        unchanged=counts["unchanged"],
        unmapped=counts["unmapped"],
        users=len(revised),
        priors=priors,
        passed_over=SkippedRewards(
            revoked_before=counts["already"], forgotten=counts["forgotten"], never_taught=counts["void"]
        ),
        out_of_reach=UnreachableUsers(users=users, until=format_time(until)),
    )


async def _survey(deployment: ServiceContext, since: float) -> _Survey:
    """Look at every reaction; only those with another reward are remembered."""
    settings, survey, after = deployment.reward_settings, _Survey(), 0
    while page := await deployment.store.list_reactions(after, since, _PAGE_SIZE):
        for each in page:
            if each.fate != "held":
                survey.counts[each.fate] += 1
                continue
            try:
                value = settings.compute_reaction_reward(each.sent.action, each.sent.dwell_ms)
            except InvalidRequestError:
                survey.counts["unmapped"] += 1
                continue
            survey.counts["unchanged" if value == each.value else "different"] += 1
            if value != each.value:
                survey.different.setdefault(each.decision_id or each.seq, []).append(each)
        after = page[-1].seq
    return survey


async def _revise(
    deployment: ServiceContext, different: Mapping[Hashable, Sequence[LoggedReaction]], client: str
) -> tuple[Counter[str], list[str]]:
    """Revise what differs; returns how many reactions of each user, and the policies whose prior was learned again."""
    store, revised = deployment.store, Counter[str]()
    groups = list(different.values())
    for first in range(0, len(groups), _AT_ONCE):
        some = groups[first : first + _AT_ONCE]
        settings = deployment.reward_settings
        outcomes = await asyncio.gather(*(store.reapply_reactions(found, settings, client) for found in some))
        for found, is_revised in zip(some, outcomes, strict=True):
            if is_revised:
                revised[found[0].user_id] += len(found)
    if not revised:
        return revised, []
    return revised, await deployment.population.apply_revocation(set(revised), store.next_seq(deployment.clock()))
