"""What came out of an evaluation, policy by policy, as each version of the wire has it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self, get_args

from bandstand.personalizer.configuration import format_date
from bandstand.personalizer.durations import format_duration
from bandstand.personalizer.errors import PersonalizerError
from bandstand.personalizer.evaluation_request import BASELINE, RANDOM, parse_moment
from bandstand.personalizer.evaluation_summary import WIDTHS, SummarySums, WindowKind, WindowSeries
from bandstand.personalizer.explanation import to_feature_name
from bandstand.times import parse_bound

_KINDS: Final[tuple[str, ...]] = get_args(WindowKind)
_MINUTES: Final = {f"{width / 60:.0f}": width for width in WIDTHS}


@dataclass(frozen=True, slots=True)
class SeriesRange:
    """The requested part of an evaluation, and its windows of time.

    Attributes:
        start: seconds since the epoch.
        end: the same.
        width: of the windows, in seconds.
        kind: of the windows.
    """

    start: float
    end: float
    width: float
    kind: WindowKind

    @classmethod
    def parse(cls, get_parameter: Callable[[str], str | None], plan: Mapping[str, Any]) -> Self:
        """Read a query; what it does not say is as the evaluation has it.

        Raises:
            PersonalizerError: it says something that cannot be.
        """
        start = parse_moment(get_parameter("startTime") or plan["since"], "startTime")
        end = parse_moment(get_parameter("endTime") or plan["until"], "endTime")
        minutes = get_parameter("intervalInMinutes") or "5"
        if minutes not in _MINUTES:
            raise _refuse(f"intervalInMinutes: must be one of {', '.join(_MINUTES)}")
        kind = get_parameter("window") or "Expanding"
        if kind not in _KINDS:
            raise _refuse(f"window: must be one of {', '.join(_KINDS)}")
        return cls(start, end, _MINUTES[minutes], kind)  # type: ignore[arg-type]  # one of the kinds


@dataclass(frozen=True, slots=True, eq=False)
class NamedPolicy:
    """A policy of an evaluation; ``report`` is what ours says of it, ``None`` of what served."""

    name: str
    arguments: str
    source: str
    report: Mapping[str, Any] | None


def iter_policies(report: Mapping[str, Any], note: Mapping[str, Any]) -> Iterator[NamedPolicy]:
    """Every policy of an evaluation, in the order of its results."""
    found = {each["policy"]: each for each in report["policies"]}
    yield NamedPolicy("Online", "", "Online", None)
    yield NamedPolicy("Baseline", "", "Baseline", found[BASELINE])
    yield NamedPolicy("Random", "", "Random", found[RANDOM])
    for source, prefix, listed in (
        ("Custom", "custom", note["custom"]),
        ("OfflineExperimentation", "hyper", note["experiments"]),
    ):
        for number, each in enumerate(listed):
            yield NamedPolicy(each["name"], each["arguments"], source, found[f"{prefix}-{number}"])


def build_results(report: Mapping[str, Any], plan: Mapping[str, Any], note: Mapping[str, Any]) -> list[dict[str, Any]]:
    """``policyResults`` as versions 1 have them: a summary of all, and one of each window of time.

    Args:
        report: the report of our evaluation.
        plan: what it was to evaluate.
        note: the request over this wire.
    """
    begins, ends = (parse_bound(plan[key]) for key in ("since", "until"))
    length = format_duration(ends - begins)
    results = []
    for policy in iter_policies(report, note):
        total = SummarySums.from_report(report["log"], policy.report).to_summary(plan["since"], length)
        series = WindowSeries.from_report(report, policy.report)
        results.append(
            {
                "name": policy.name,
                "arguments": policy.arguments,
                "policySource": policy.source,
                "summary": series.to_summaries() or [total],
                "totalSummary": total,
            }
        )
    return results


def build_content(report: Mapping[str, Any], note: Mapping[str, Any], span: SeriesRange) -> dict[str, Any]:
    """``content`` as the newer version has it: expected rewards of a part of the range, and how they went."""
    values = []
    for policy in iter_policies(report, note):
        series = WindowSeries.from_report(report, policy.report).cut(span.start, span.end)
        data = [
            {"timeStamp": format_date(begins), **sums.to_expectation()}
            for begins, sums in series.join(span.width, span.kind)
        ]
        values.append(
            {
                "name": policy.name,
                "arguments": policy.arguments,
                "policySource": policy.source,
                "summary": series.sum_all().to_expectation(),
                "timeseries": {"data": data},
            }
        )
    return {
        "startTime": format_date(span.start),
        "endTime": format_date(span.end),
        "intervalInMinutes": int(max(span.width, report.get("window_s", 0.0)) / 60),
        "value": values,
    }


def build_importance(report: Mapping[str, Any]) -> list[list[str]]:
    """``featureImportance``: each feature and its score, as texts, the largest first."""
    return [[to_feature_name(name), f"{score:.6g}"] for name, score in report.get("importance", ())]


def _refuse(message: str) -> PersonalizerError:
    return PersonalizerError(400, "InvalidEvaluationContract", message)
