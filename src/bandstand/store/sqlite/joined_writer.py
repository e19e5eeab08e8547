"""Operations that are committed whole or not at all: several events of one request."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from bandstand.errors import OverloadedError, StorageUnavailableError
from bandstand.store.sqlite.operations import Operation, WriterOperation
from bandstand.store.sqlite.writer import Writer


class JoinedWriter:
    """Gives operations to a writer, on their own or several as one.

    Attributes:
        submit: submits an operation, as :meth:`bandstand.store.sqlite.writer.Writer.submit` has it.
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self.submit: Callable[[WriterOperation], None] = writer.submit

    @contextmanager
    def join(self) -> Iterator[None]:
        """Commit what is submitted inside as one operation; nothing may be awaited meanwhile.

        Waiters of one of them get the outcome of all, also if the writer accepted none of them.
        """
        joined: list[WriterOperation] = []
        self.submit = joined.append
        try:
            yield
        finally:
            self.submit = self._writer.submit
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
        sums=tuple(increment for each in operations for increment in each.sum_up([each])),
        acknowledge=acknowledge,
    )
