"""Runs that teach the judge from people's labels, in ``judge_runs.db`` of the state directory.

What is kept of one is its report: sums over all labelled turns, and no user's id or words.
"""

from typing import ClassVar

from bandstand.store.tables.run_table import RunClaim, RunProgress, RunTable


class JudgeRuns(RunTable):
    """The calibrations and trainings of one state directory."""

    file: ClassVar[str] = "judge_runs.db"
    table: ClassVar[str] = "judge_runs"
    script: ClassVar[str] = "judge_runs.sql"

    def save(self, claim: RunClaim, progress: RunProgress, now: float) -> bool:
        """Write how far a run is, and its report once there is one.

        Returns:
            False where the claim is gone; nothing was written then.
        """
        with self.open() as connection:
            return self.write_progress(connection, claim, progress, now)
