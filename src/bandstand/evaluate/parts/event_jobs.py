"""An exported log replayed by several processes of this machine, while one goes ahead and learns."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from tempfile import TemporaryDirectory

from bandstand.evaluate.files.event_files import EventFiles
from bandstand.evaluate.parts.event_parts import (
    EventQuestion,
    EventSums,
    evaluate_event_part,
    iter_event_parts,
    read_learned,
    write_learned,
)
from bandstand.evaluate.policy_replay.candidate import CandidatePolicy
from bandstand.evaluate.spec import run_processes

PARTS_A_JOB = 2
"""So that who is done first has something left to do; each part must be learned up to."""

BuildCandidates = Callable[[], Sequence[CandidatePolicy]]
"""Makes the policies, which nothing has taught; called in processes of their own, so that it must be picklable."""


def evaluate_event_jobs(question: EventQuestion, files: EventFiles, build: BuildCandidates, jobs: int) -> EventSums:
    """Evaluate an exported log by several processes; the answer is that of one.

    Raises:
        EvaluationError: a file or an event is not as it must be, or a process was killed.
    """
    count = min(len(files.files), jobs * PARTS_A_JOB)
    with TemporaryDirectory(prefix="bandstand-") as folder, run_processes(min(jobs, count)) as pool:
        tasks: list[Future[EventSums]] = []
        for number, part in enumerate(iter_event_parts(question, files, build(), count)):
            path = Path(folder) / f"{number}.json.zst"
            write_learned(path, part.learned)
            paths = {file.name: file.path for file in part.files}
            tasks.append(pool.submit(_evaluate_part, question, paths, part.first_row, path, build))
        whole = tasks[0].result()
        for task in tasks[1:]:
            whole.merge(task.result())
    return whole


def _evaluate_part(
    question: EventQuestion, files: Mapping[str, Path], first_row: int, learned: Path, build: BuildCandidates
) -> EventSums:
    return evaluate_event_part(question, files, first_row, read_learned(learned), build())
