"""Evaluations of policies on the log, in ``evaluations.db`` of the state directory.

What is kept of one is its report: sums over all users, and no user's id, content or text.
"""

from typing import ClassVar

from bandstand.store.tables.run_table import RunClaim, RunProgress, RunTable


class Evaluations(RunTable):
    """The evaluations of one state directory."""

    file: ClassVar[str] = "evaluations.db"
    table: ClassVar[str] = "evaluation_runs"
    script: ClassVar[str] = "evaluations.sql"

    def save(self, claim: RunClaim, progress: RunProgress, now: float) -> bool:
        """Write how far an evaluation is, and its report once there is one.

        Returns:
            False where the claim is gone; nothing was written then.
        """
        with self.open() as connection:
            return self.write_progress(connection, claim, progress, now)
