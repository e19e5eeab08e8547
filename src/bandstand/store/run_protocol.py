"""Storage of background runs: a file of a state directory, or a table of a shared ledger."""

from contextlib import AbstractContextManager
from typing import Protocol

from bandstand.store.tables.run_table import RunClaim, RunProgress, RunRecord


class RunStore(Protocol):
    """Runs of one kind; any thread may call.

    Every method may raise StorageFullError, StorageUnavailableError, ConfigurationError: what keeps them refused.
    """

    @property
    def exists(self) -> bool:
        """Whether there may be runs of this service's own."""

    def create(self, plan: str, total: int, *, origin: str, client: str, now: float) -> int:
        """Add a run that waits to be played; returns its number."""

    def get(self, run: int, now: float) -> RunRecord | None:
        """The run of that number."""

    def list_page(self, *, before: int | None, limit: int, now: float) -> list[RunRecord]:
        """Runs, newest first, from the cursor ``before``; without their summaries."""

    def list_queued(self) -> list[int]:
        """Numbers of runs that wait for this service to play them, oldest first."""

    def cancel(self, run: int, now: float) -> bool:
        """End a run that waits or is played; returns whether there was something to end."""

    def interrupt_all(self, now: float) -> bool:
        """Mark this service's own runs as interrupted: none of its children is alive."""

    def fail(self, run: int, error: str, now: float) -> bool:
        """Mark a run as failed whose process has ended without a word."""

    def delete(self, run: int) -> bool:
        """Forget a run and all it played; returns whether it was there."""


class EvaluationStore(RunStore, Protocol):
    """Evaluations, also for the child that makes one."""

    def claim(self, run: int, *, now: float, only_queued: bool = False) -> RunClaim | None:
        """Take a run to play it; ``None`` if it is not there to be played."""

    def save(self, claim: RunClaim, progress: RunProgress, now: float) -> bool:
        """Write how far an evaluation is; False where the claim is gone, and nothing was written."""

    def keep_open(self) -> AbstractContextManager[None]:
        """Keep what is written to open, if that spares something."""
