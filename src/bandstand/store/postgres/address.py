"""Where a PostgreSQL ledger is: the URL of a deployment taken apart, so that its secrets stay out of every sentence."""

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from bandstand.errors import ConfigurationError

_SCHEMES = ("postgresql", "postgres")
_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_POOLERS = ("session", "transaction")
DEFAULT_SCHEMA = "bandstand"


@dataclass(frozen=True, slots=True)
class LedgerAddress:
    """A ledger's address.

    Attributes:
        dsn: for the driver; it may hold a password.
        schema: the PostgreSQL schema that holds the tables.
        has_transaction_pooler: statements of one session may reach several servers' sessions.
    """

    dsn: str = field(repr=False)
    schema: str = DEFAULT_SCHEMA
    has_transaction_pooler: bool = False

    @classmethod
    def parse(cls, url: str) -> "LedgerAddress":
        """Parse a URL: one that libpq accepts, with ``schema=NAME`` and ``pooler=transaction`` as further parameters.

        Raises:
            ConfigurationError: it is no such URL; the message repeats nothing of it.
        """
        try:
            parts = urlsplit(url)
            given = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        except ValueError:
            raise ConfigurationError("STATE_URL is no URL") from None
        if parts.scheme not in _SCHEMES:
            raise ConfigurationError("STATE_URL must start with postgresql://")
        own = {name: value for name, value in given if name in {"schema", "pooler"}}
        schema, pooler = own.get("schema", DEFAULT_SCHEMA), own.get("pooler", "session")
        if not _SCHEMA.fullmatch(schema) or schema.startswith("pg_"):
            raise ConfigurationError("schema in STATE_URL must be small letters, digits and _, and not begin with pg_")
        if pooler not in _POOLERS:
            raise ConfigurationError("pooler in STATE_URL must be session or transaction")
        query = urlencode([(name, value) for name, value in given if name not in own])
        return cls(urlunsplit(parts._replace(query=query)), schema, pooler == "transaction")
