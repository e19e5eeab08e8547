"""The users of a shared ledger, whom a prior is learned from offline; see :mod:`bandstand.learning.taught_users`."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bandstand.bandit.catalogue import Catalogue
from bandstand.bandit.profile import Profile
from bandstand.errors import ConfigurationError
from bandstand.store.learners.erasure import compute_tombstone
from bandstand.store.postgres.address import LedgerAddress
from bandstand.store.postgres.command_pool import open_command_pool
from bandstand.store.postgres.connections import ConnectionPool
from bandstand.store.postgres.event_reader import FIND_LAST_EVENT
from bandstand.store.postgres.prior_log import read_prior, write_offline_prior
from bandstand.store.postgres.profiles import ProfileCache
from bandstand.store.postgres.registry import LedgerPolicies
from bandstand.store.postgres.schema import FORMAT

_PAGE = 1000
_META = "SELECT key, value FROM meta"
_KEYS = "SELECT uid FROM users ORDER BY uid"
_SCHEMAS = "SELECT name, hash FROM schemas"
_USERS = "SELECT uid, user_id FROM users WHERE uid > $1 AND uid <= $2 ORDER BY uid LIMIT $3"
_IS_THERE = """SELECT EXISTS (SELECT 1 FROM users WHERE user_id = $1)
    AND NOT EXISTS (SELECT 1 FROM tombstones WHERE user_hash = $2 AND seq > $3)"""


class SharedTaughtUsers:
    """Those of a loop's schema, for a thread that runs no event loop.

    Args:
        runner: runs what asks the database.
        pool: one connection.
        policies: those that the ledger knows.
        address: of the schema.
        secret: the ledger's.
    """

    def __init__(
        self,
        runner: asyncio.Runner,
        pool: ConnectionPool,
        policies: LedgerPolicies,
        *,
        address: LedgerAddress,
        secret: bytes,
    ) -> None:
        self._runner = runner
        self._pool = pool
        self._policies = policies
        self._address = address
        self._secret = secret
        self._users = ProfileCache(
            pool, pool, policies.registry, prepare=self._prepare, observe_seq=lambda _: None, max_users=1
        )

    @property
    def secret(self) -> bytes:
        """The ledger's."""
        return self._secret

    @property
    def name(self) -> str:
        """Where it is, in words."""
        return f"the schema {self._address.schema!r} of STATE_URL"

    def find_last_seq(self) -> int:
        """The number of the newest event."""
        return int(self._fetch(FIND_LAST_EVENT)[0][0] or 0)

    def list_keys(self) -> list[int]:
        """The keys of all users, in order."""
        return [row["uid"] for row in self._fetch(_KEYS)]

    def iter_profiles(self, after: int, until: int) -> Iterator[Profile | None]:
        """The states of users with keys in a range."""
        while rows := self._fetch(_USERS, after, until, _PAGE):
            for uid, user_id in rows:
                found = self._runner.run(self._users.load(user_id))
                self._users.drop_all()
                yield found.profile if found.uid == uid else None
            after = rows[-1]["uid"]

    def list_schemas(self) -> dict[str, str]:
        """The hash of each feature schema that sums are kept under."""
        return dict(self._fetch(_SCHEMAS))

    def is_there(self, user_id: str, seq: int) -> bool:
        """Whether a user was not erased after the event ``seq``."""
        return bool(self._fetch(_IS_THERE, user_id, compute_tombstone(self._secret, user_id), seq)[0][0])

    def read_prior(self, policy: str) -> dict[str, Any] | None:
        """What stands in the place of that policy's prior."""
        return self._runner.run(read_prior(self._pool, policy))

    def write_prior(self, policy: str, body: dict[str, Any]) -> None:
        """Put a prior there: services believe it within seconds."""
        self._runner.run(write_offline_prior(self._pool, policy, body))

    def _fetch(self, query: str, *values: object) -> list[Any]:
        return self._runner.run(self._pool.fetch(query, *values))

    async def _prepare(self, events: list[Any]) -> None:
        if not self._policies.has_all(events):
            await self._policies.load(self._pool)


@contextmanager
def open_taught_users(
    address: LedgerAddress, catalogue: Catalogue, *, writes: bool = False
) -> Iterator[SharedTaughtUsers]:
    """Read the users of a loop, whether or not services run on it.

    Args:
        address: of its schema.
        catalogue: its policies and schemas.
        writes: whether a prior is to be written; else a standby will do, if the URL says so.

    Raises:
        ConfigurationError: the schema holds no ledger of this version.
        StorageUnavailableError: the database cannot be read.
    """
    with open_command_pool(address, writes=writes) as (runner, pool):
        meta: dict[str, bytes] = dict(runner.run(pool.fetch(_META)))
        if int(meta["format"]) < FORMAT:
            raise ConfigurationError("the ledger of STATE_URL has an older format: start a service of this version")
        policies = LedgerPolicies(catalogue)
        runner.run(policies.load(pool))
        secret = bytes(meta["secret"])
        yield SharedTaughtUsers(runner, pool, policies, address=address, secret=secret)
