"""What PostgreSQL and the way to it raise, as errors of Bandstand; none repeats an address, a statement or a value."""

import asyncpg

from bandstand.errors import BandstandError, InvalidRequestError, StorageFullError, StorageUnavailableError

ROW_ERRORS = (asyncpg.IntegrityConstraintViolationError, asyncpg.DataError)
"""One row of a group is refused: its neighbours are tried without it."""


class RestoredLedgerError(StorageUnavailableError):
    """Another state of the ledger is there than this process knows."""


REPEATABLE_ERRORS = (
    RestoredLedgerError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,  # the server stops, starts, or ended a statement that took too long
    asyncpg.TransactionRollbackError,  # a deadlock, or a serialisation failure
    asyncpg.LockNotAvailableError,
    asyncpg.TooManyConnectionsError,
    asyncpg.ReadOnlySQLTransactionError,  # a primary that has become a standby
    OSError,
    TimeoutError,
)
"""What may go by: the same is asked again, until its time is up."""


def to_storage_error(error: BaseException) -> BaseException:
    """The error that a running service answers with."""
    if isinstance(error, BandstandError):
        return error
    if isinstance(error, asyncpg.DiskFullError):
        return StorageFullError("the database's disk is full: nothing new is taken, nothing acknowledged is lost")
    if isinstance(error, asyncpg.CharacterNotInRepertoireError):
        return InvalidRequestError("a text holds U+0000, which PostgreSQL does not keep")
    failure = StorageUnavailableError(f"the database cannot be used now ({describe(error)})")
    failure.__cause__ = error
    return failure


def describe(error: BaseException) -> str:
    """What went wrong, in the database's code or the error's name: their words may quote what was sent."""
    code = getattr(error, "sqlstate", None)
    return f"SQLSTATE {code}" if code else type(error).__name__
