"""Users: list them, reset one, erase one."""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from bandstand.errors import LoopRefusedError
from bandstand.service.context import ServiceContext

UNREACHABLE = (
    "backups made before",
    "logs shipped elsewhere",
    "hourly totals, totals by prompt and by shadow, which name nobody",
)
UNREACHABLE_LOG = "the write-ahead log, until those who read the ledger now have finished"


@dataclass(frozen=True, slots=True)
class KnownUser:
    """A user that the ledger knows."""

    user_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UserList:
    """A page of known users in order of first sight; ``next`` is the ``after`` of the next page."""

    users: Sequence[KnownUser]
    next: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasureReceipt:
    """What an erasure did.

    Attributes:
        erased: how much of each kind went.
        unreachable: what may still hold something and cannot be reached from here.
        loops: how much of it in which loop; ``None`` if there is none but the default one.
    """

    ok: Literal[True] = True
    erased: Mapping[str, int]
    unreachable: Sequence[str]
    loops: Mapping[str, Mapping[str, int]] | None = None


def sum_receipts(receipts: Mapping[str, ErasureReceipt]) -> ErasureReceipt:
    """One receipt of the erasures of a user in several loops, by name."""
    total: Counter[str] = Counter()
    for receipt in receipts.values():
        total.update(receipt.erased)
    return ErasureReceipt(
        erased=dict(total),
        unreachable=list(dict.fromkeys(each for receipt in receipts.values() for each in receipt.unreachable)),
        loops={name: receipt.erased for name, receipt in receipts.items()},
    )


Erase = Callable[[str, str], Awaitable[ErasureReceipt]]
"""Erases a user, by id, for an API key, by name."""


async def list_users(deployment: ServiceContext, prefix: str, after: int, limit: int) -> UserList:
    """A page of known user ids, in order of first sight."""
    page = await deployment.store.list_users(prefix, after, limit)
    return UserList(users=[KnownUser(user_id) for user_id in page.users], next=page.next)


async def reset(deployment: ServiceContext, user_id: str, client: str) -> None:
    """Make every policy forget the user; decisions made before teach nothing any more. Idempotent."""
    if deployment.has_one_model:
        deployment.get_owner(user_id)
        raise LoopRefusedError("in a loop with one model for everybody, no single user can be forgotten but by erasure")
    await deployment.store.reset(user_id, client)
    deployment.population.apply_reset(user_id)


async def erase(deployment: ServiceContext, user_id: str, client: str) -> ErasureReceipt:
    """Delete everything held about the user; the receipt counts what went and names what this cannot reach."""
    owner = deployment.get_owner(user_id)
    store = deployment.store
    erasure = await store.erase(user_id, client)
    priors = await deployment.population.apply_erasure(user_id)
    if owner != user_id:
        priors += len(await deployment.population.apply_revocation([owner], store.next_seq(deployment.clock())))
    counts = asdict(erasure)
    log_emptied = counts.pop("log_emptied")
    return ErasureReceipt(
        erased={**counts, "priors": priors},
        unreachable=[*UNREACHABLE, *([] if log_emptied else [UNREACHABLE_LOG])],
    )
