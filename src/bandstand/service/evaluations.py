"""Evaluations, a page at a time, and one with its report."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from bandstand.service.runs import RunStatus, build_status
from bandstand.store.tables.run_table import RunRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationPage:
    """A page of evaluations, newest first; ``next`` is the ``before`` of the next page."""

    evaluations: Sequence[RunStatus]
    next: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationReport(RunStatus):
    """An evaluation with its report, which is null until it is done."""

    report: Mapping[str, Any] | None


def build_report(run: RunRecord) -> EvaluationReport:
    """How an evaluation stands, and what came out."""
    status = build_status(run)
    return EvaluationReport(
        **{each.name: getattr(status, each.name) for each in fields(status)},
        report=json.loads(run.summary) if run.summary else None,
    )
