"""Policies on the log.

Written by ``tools/write_client.py`` from the service's ``openapi.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bandstand_client.answers.simulations import RunProgress
from bandstand_client.reading import Answer


@dataclass(frozen=True, kw_only=True)
class Evaluation(Answer):
    """An evaluation of policies on the log; `plan` is the request.

    Attributes:
        client: the key that asked for it; `-` is the command line.
        error: why it failed.

    Example:
        >>> run = client.start_evaluation(["first-v1"])
        >>> run.plan["policies"]
        ['first-v1']
        >>> client.delete_evaluation(run.id)
    """

    id: int
    state: Literal["queued", "running", "done", "interrupted", "cancelled", "failed"]
    client: str
    created: str
    started: str | None = None
    ended: str | None = None
    progress: RunProgress
    plan: Mapping[str, Any]
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class EvaluationList(Answer):
    """A page of evaluations, newest first; ``next`` is the ``before`` of the next page.

    Example:
        >>> run = client.start_evaluation(["first-v1"])
        >>> client.evaluations().evaluations[0].id == run.id
        True
        >>> client.delete_evaluation(run.id)
    """

    evaluations: tuple[Evaluation, ...]
    next: int | None = None


@dataclass(frozen=True, kw_only=True)
class EvaluationResult(Answer):
    """An evaluation with its report, as `bandstand evaluate --json` prints one.

    Attributes:
        client: the key that asked for it; `-` is the command line.
        error: why it failed.
        report: null until it is done. `log` says what it holds; `policies[]` has for each its `estimates[]` (`value`,
            `low`, `high`, `ess`, `lift` over what was logged), `doubts[]` in words, `curve[]` and `weights`.

    Example:
        >>> run = client.start_evaluation(["first-v1"])
        >>> client.evaluation(run.id).id == run.id
        True
        >>> client.delete_evaluation(run.id)
    """

    id: int
    state: Literal["queued", "running", "done", "interrupted", "cancelled", "failed"]
    client: str
    created: str
    started: str | None = None
    ended: str | None = None
    progress: RunProgress
    plan: Mapping[str, Any]
    error: str | None = None
    report: Mapping[str, Any] | None = None
