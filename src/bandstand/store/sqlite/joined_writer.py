"""Operations that are committed whole or not at all: several events of one request."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bandstand.errors import OverloadedError, StorageUnavailableError
from bandstand.store.sqlite.operations import Operation, WriterOperation
from bandstand.store.sqlite.writer import Writer


class JoinedWriter:
    """Gives operations to a writer, on their own or several as one."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._joined: list[WriterOperation] | None = None

    def submit(self, operation: WriterOperation) -> None:
        """Submit an operation, as :meth:`bandstand.store.sqlite.writer.Writer.submit` has it."""
        if self._joined is None:
            self._writer.submit(operation)
        else:
            self._joined.append(operation)

    @contextmanager
    def join(self) -> Iterator[None]:
        """Commit what is submitted inside as one operation; nothing may be awaited meanwhile.

        Waiters of one of them get the outcome of all, also if the writer accepted none of them.
        """
        joined: list[WriterOperation] = []
        self._joined = joined
        try:
            yield
        finally:
            self._joined = None
            if joined:
                self._submit_joined(join_operations(joined))

    def _submit_joined(self, operation: WriterOperation) -> None:
        try:
            self._writer.submit(operation)
        except (OverloadedError, StorageUnavailableError) as error:
            operation.done(None, error)
            operation.acknowledge(error)


def join_operations(operations: Sequence[WriterOperation]) -> Operation:
    """One operation that does what all of them do."""

    def done(result: object, error: BaseException | None) -> None:
        for each in operations:
            each.done(result, error)

    def acknowledge(error: BaseException | None) -> None:
        for each in operations:
            each.acknowledge(error)

    return Operation(
        [row for each in operations for row in each.rows],
        done,
        durable=any(each.durable for each in operations),
        sums=tuple(amounts for each in operations for amounts in each.sums),
        acknowledge=acknowledge,
    )
