"""Priors that were learned offline, in a shared ledger: each process takes them up as it starts, and writes none."""

from typing import Any

from bandstand.errors import InvalidRequestError
from bandstand.store.learners.prior_file import PriorStore, build_document, parse_document, render_document
from bandstand.store.postgres.connections import Channel, ConnectionPool

_PRIORS = "SELECT policy, document FROM priors"
_FIND_MEMBERS = "SELECT uid FROM users WHERE user_id = ANY ($1::text[]) ORDER BY uid FOR KEY SHARE"
_WRITE = """INSERT INTO priors (policy, document) VALUES ($1, $2)
    ON CONFLICT (policy) DO UPDATE SET document = excluded.document"""
_FORGET_MEMBERS = "DELETE FROM prior_members WHERE policy = $1"
_ADD_MEMBERS = "INSERT INTO prior_members (policy, uid) SELECT $1, uid FROM unnest($2::bigint[]) AS g(uid)"


class SharedPriors(PriorStore):
    """The priors as this process has read them; what it learns itself stays in its memory."""

    def __init__(self) -> None:
        self._documents: dict[str, dict[str, Any]] = {}

    async def open(self, pool: ConnectionPool) -> None:
        """Read what is there; one that cannot be trusted is none."""
        self._documents = await read_priors(pool)

    def list_policies(self) -> set[str]:
        """The policies that have one."""
        return set(self._documents)

    def load(self, policy: str) -> dict[str, Any] | None:
        """What the ledger had as the process started; it is named nowhere here any more."""
        return self._documents.pop(policy, None)

    def read(self, policy: str) -> dict[str, Any] | None:
        """As :meth:`load`."""
        return self._documents.get(policy)

    def write(self, policy: str, body: dict[str, Any]) -> str:
        """Keep what this process has learned nowhere; returns its checksum."""
        return str(build_document(policy, body)["checksum"])

    def set_aside(self, policy: str) -> None:
        """Have none."""
        self._documents.pop(policy, None)

    def delete(self, policy: str) -> bool:
        """Have none; tells whether there was one. The ledger's goes with the erasure that asks for it."""
        return self._documents.pop(policy, None) is not None


async def read_priors(pool: ConnectionPool) -> dict[str, dict[str, Any]]:
    """What the ledger has, by policy."""
    found = {}
    for policy, document in await pool.fetch(_PRIORS):
        try:
            found[str(policy)] = parse_document(policy, document)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue
    return found


async def write_prior(pool: ConnectionPool, policy: str, body: dict[str, Any]) -> None:
    """Put a prior in its place, for every process that starts from here on.

    Raises:
        InvalidRequestError: somebody whom it was learned from has been erased meanwhile; nothing was written.
    """
    names = [*body["members"], *body["former"]]
    document = render_document(build_document(policy, body))

    async def write(channel: Channel, _: int) -> None:
        session = channel.session
        members = [row["uid"] for row in await session.fetch(_FIND_MEMBERS, names)]
        if len(members) != len(names):
            raise InvalidRequestError("users have been erased meanwhile: reduce again")
        await session.execute(_WRITE, policy, document)
        await session.execute(_FORGET_MEMBERS, policy)
        await session.execute(_ADD_MEMBERS, policy, members)

    await pool.transact(write, is_long=True)
