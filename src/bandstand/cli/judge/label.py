"""What ``bandstand judge label`` does.

Write every turn of a file with its verdict, and continue a run that was stopped.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bandstand.atomic_file import replace_file
from bandstand.cli.judge.turn_files import describe_other_form, open_records, report_faults
from bandstand.cli.log_input import STANDARD_INPUT
from bandstand.cli.report import show_progress
from bandstand.errors import FieldError, InvalidRequestError
from bandstand.judge.gate import Gate
from bandstand.judge.gated_verdict import GatedVerdict
from bandstand.judge.training.dataset import LabelledTurn
from bandstand.judge.training.evaluation import judge_rows
from bandstand.judge.training.tier import Tier
from bandstand.judge.training.transcripts import TEXTS, to_turn_fields
from bandstand.judge.turn import Turn
from bandstand.judge.verdict import UnscoredReason
from bandstand.store.sqlite.errors import storage_errors

ENDING: Final = ".labelled.jsonl"

_BATCH: Final = 128
_AT: Final = "at"
_OURS: Final = (_AT, "verdict", "confidence", "reward", "should_update", "unscored", "tier", "model")
_PASSING: Final = frozenset(
    reason.value
    for reason in (
        UnscoredReason.TIMEOUT,
        UnscoredReason.UNAVAILABLE,
        UnscoredReason.CIRCUIT_OPEN,
        UnscoredReason.OVER_BUDGET,
        UnscoredReason.INTERNAL,
    )
)
"""Failures that another run may not meet: such turns are judged again."""


@dataclass(frozen=True, slots=True)
class _Row:
    """A turn of the file: where it stands, the whole record, and what of it is judged."""

    number: int
    at: str
    record: Mapping[str, Any]
    turn: Turn


def get_output_path(file: Path) -> Path:
    """Return the default path of the labelled turns of a file.

    Raises:
        InvalidRequestError: it is standard input, which has no place.
    """
    if file == STANDARD_INPUT:
        raise InvalidRequestError("--output: name a file; standard input has no place beside it")
    name = file.name
    while Path(name).suffix.lower() in {".gz", ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet"}:
        name = Path(name).stem
    return file.with_name(name + ENDING)


async def label_file(file: Path, output: Path, judge: Tier, gate: Gate) -> dict[str, Any]:
    """Judge every turn of a file and write each as a line of JSON: the record, its turn, and the verdict.

    What an earlier run wrote is kept, but for failures that may pass; a line that it was killed in is written again.

    Returns:
        How many turns there are, how many were judged now, and the verdicts by label and by reason for none.

    Raises:
        InvalidRequestError: the file holds no turn, or the output is of another file.
        StorageError: the output cannot be written.
    """
    rows, bad = _read_rows(file)
    if not rows:
        raise InvalidRequestError(describe_other_form(file, bad))
    report_faults(file, bad)
    with storage_errors(output):
        written = _read_written(output, rows)
        waiting = [row for row in rows if row.at not in written]
        await _judge_rows(waiting, output, written, judge, gate)
        if waiting and list(written) != [row.at for row in rows]:
            _write_lines(output, [written[row.at] for row in rows])
    labels = Counter(str(line["verdict"]) for line in written.values() if line["verdict"] is not None)
    return {
        "file": str(file),
        "written": str(output),
        "turns": len(rows),
        "judged": len(waiting),
        "skipped": [{"at": at, "reason": reason} for at, reason in bad],
        "verdicts": dict(labels.most_common()),
        "unscored": dict(Counter(str(line["unscored"]) for line in written.values() if line["verdict"] is None)),
        "mean_reward": _compute_mean([line["reward"] for line in written.values() if line["should_update"]]),
    }


async def _judge_rows(
    rows: Sequence[_Row], output: Path, written: dict[str, dict[str, Any]], judge: Tier, gate: Gate
) -> None:
    with output.open("a", encoding="utf-8") as file, show_progress("turns", len(rows)) as steps:
        for start in range(0, len(rows), _BATCH):
            batch = rows[start : start + _BATCH]
            turns = [LabelledTurn(row.number, row.turn, None, None, None) for row in batch]
            outcomes = await judge_rows(
                judge,
                turns,
                gate=gate,
                progress=lambda done, _, start=start: steps.update(start + done, len(rows)),  # type: ignore[misc]
            )
            for row, outcome in zip(batch, outcomes, strict=True):
                line = _to_line(row, GatedVerdict(outcome.judged, outcome.applied))
                written[row.at] = line
                file.write(json.dumps(line) + "\n")
            file.flush()


def _read_rows(file: Path) -> tuple[list[_Row], list[FieldError]]:
    rows, bad = [], []
    with open_records(file) as records:
        for record in to_turn_fields(records):
            if record.fault is not None:
                bad.append(FieldError(record.at, record.fault))
                continue
            try:
                rows.append(_Row(record.number, record.at, record.value, Turn.parse(record.value)))
            except InvalidRequestError as error:
                faults = "; ".join(f"{field} {message}" for field, message in error.errors)
                bad.append(FieldError(record.at, faults or error.detail))
    return sorted(rows, key=lambda row: row.number), bad


def _read_written(output: Path, rows: Sequence[_Row]) -> dict[str, dict[str, Any]]:
    """Return what an earlier run wrote and this one need not judge again, by position.

    Only that is left in the file.
    """
    if not output.exists():
        return {}
    turns = {row.at: row.turn for row in rows}
    kept: dict[str, dict[str, Any]] = {}
    lines = output.read_text(encoding="utf-8").split("\n")
    for number, line in enumerate(filter(str.strip, lines), start=1):
        found = _parse_line(line)
        if found is None:
            if number < len(lines) - 1:
                raise InvalidRequestError(
                    f"{str(output)!r} was not written by this command; name another with --output"
                )
            continue  # the run before was ended in it
        turn = turns.get(found[_AT])
        if turn is None or any(found.get(name) != getattr(turn, name) for name in TEXTS):
            raise InvalidRequestError(
                f"{str(output)!r} has other turns than the file, at {found[_AT]}; name another with --output"
            )
        if found["unscored"] not in _PASSING:
            kept[found[_AT]] = found
    _write_lines(output, kept.values())
    return kept


def _parse_line(line: str) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and set(_OURS) <= found.keys() else None


def _write_lines(output: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    with replace_file(output) as partial, partial.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def _to_line(row: _Row, judgement: GatedVerdict) -> dict[str, Any]:
    ours = {
        _AT: row.at,
        "verdict": judgement.label,
        "confidence": judgement.confidence,
        "reward": judgement.reward,
        "should_update": judgement.should_update,
        "unscored": judgement.unscored,
        "tier": judgement.judged.tier,
        "model": judgement.judged.model,
    }
    taken = {name: value for name, value in row.record.items() if name in ours}
    return {**row.record, **({"original": taken} if taken else {}), **ours}


def _compute_mean(rewards: Sequence[float]) -> float | None:
    return sum(rewards) / len(rewards) if rewards else None
