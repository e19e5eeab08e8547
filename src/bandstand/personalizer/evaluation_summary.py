"""Policy results of an offline evaluation, as Personalizer has them, from our report of it.

With w = π(a|x)/p and r the reward of each of n decisions: Σ w r, n, Σ w, Σ (w r)², how many w > 0, and the half-width
of the 95 % interval of Σ w r / n, by the normal law. For all of a range our report states mean and standard error of
the same, from which all of these follow; for windows of it, the sums themselves.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Self

from bandstand.evaluate.estimators.windows import WindowSums
from bandstand.personalizer.configuration import format_date
from bandstand.personalizer.durations import format_duration

WindowKind = Literal["Expanding", "Rolling"]
"""Whether a window of a time series begins with the series, or where the one before ended."""

WIDTHS: Final = (300.0, 3_600.0, 21_600.0, 43_200.0, 86_400.0)
"""Lengths of windows, in seconds; each is a multiple of those before."""

_MAX_WINDOWS: Final = 2016  # a week of five minutes
_Z: Final = 1.96


def choose_width(first: float, last: float) -> float:
    """The shortest windows that do not become too many between two moments, in seconds.

    >>> choose_width(0.0, 7 * 86_400.0), choose_width(0.0, 30 * 86_400.0)
    (300.0, 3600.0)
    """
    span = last - first
    days = math.ceil(span / WIDTHS[-1] / _MAX_WINDOWS)
    return next((width for width in WIDTHS if span <= width * _MAX_WINDOWS), days * WIDTHS[-1])


@dataclass(frozen=True, slots=True)
class SummarySums:
    """What a policy's summary is made of.

    Attributes:
        n: how many decisions.
        weight: Σ w.
        total: Σ w r.
        squares: Σ (w r)².
        reached: how many have w > 0.
    """

    n: float = 0.0
    weight: float = 0.0
    total: float = 0.0
    squares: float = 0.0
    reached: float = 0.0

    @classmethod
    def from_report(cls, log: Mapping[str, Any], policy: Mapping[str, Any] | None) -> Self:
        """Those over all of a range.

        Args:
            log: the report's part about the log.
            policy: the report's part about the policy; ``None`` for what served, whose weights are all 1.
        """
        if policy is None:
            n, mean, stderr, mean_weight = log["decisions"], log["mean_reward"], log["stderr"], 1.0
            reached = n
        else:
            (estimate,) = [each for each in policy["estimates"] if each["estimator"] == "ips"]
            n, mean, stderr, mean_weight = (estimate[key] for key in ("n", "value", "stderr", "mean_weight"))
            reached = n - policy["weights"]["0"]
        total = (mean or 0.0) * n
        squares = (stderr or 0.0) ** 2 * n * (n - 1) + total**2 / n if n else 0.0
        return cls(n, mean_weight * n, total, squares, reached)

    @classmethod
    def from_windows(cls, windows: Iterable[WindowSums], *, is_logged: bool) -> Self:
        """Those over some windows; of what served, with ``is_logged``."""
        sums = cls()
        for each in windows:
            added = cls(each.n, each.n, each.r, each.rr, each.n) if is_logged else cls(each.n, *each[4:])
            sums = sums.add(added)
        return sums

    def add(self, other: "SummarySums") -> Self:
        """The sums over both."""
        return type(self)(
            self.n + other.n,
            self.weight + other.weight,
            self.total + other.total,
            self.squares + other.squares,
            self.reached + other.reached,
        )

    @property
    def mean(self) -> float:
        """Σ w r / n."""
        return self.total / self.n if self.n else 0.0

    @property
    def half_width(self) -> float:
        """Half the width of the 95 % interval of the mean; 0 where one decision says nothing of it."""
        if self.n <= 1:
            return 0.0
        return _Z * math.sqrt(max(self.squares - self.total**2 / self.n, 0.0) / (self.n - 1) / self.n)

    def to_summary(self, begins: str, window: str) -> dict[str, Any]:
        """The summary as versions 1 have it, of a window that begins then and is as long as that."""
        return {
            "timeStamp": begins,
            "ipsEstimatorNumerator": self.total,
            "ipsEstimatorDenominator": float(self.n),
            "snipsEstimatorDenominator": self.weight,
            "aggregateTimeWindow": window,
            "nonZeroProbability": float(self.reached),
            "sumOfSquares": self.squares,
            "confidenceInterval": self.half_width,
            "averageReward": self.mean,
        }

    def to_expectation(self) -> dict[str, Any]:
        """The summary as the newer version has it."""
        half = self.half_width
        return {"expectedReward": self.mean, "confidenceInterval": [self.mean - half, self.mean + half]}


@dataclass(frozen=True, slots=True)
class WindowSeries:
    """A policy's windows of time, in order.

    Attributes:
        windows: those that hold a decision.
        width: their length in seconds.
        is_logged: it is of what served.
    """

    windows: Sequence[WindowSums]
    width: float
    is_logged: bool

    @classmethod
    def from_report(cls, report: Mapping[str, Any], policy: Mapping[str, Any] | None) -> Self:
        """Those of a report; none where it was made without. Of what served for ``None``."""
        found = report["policies"][0] if policy is None else policy
        windows = [WindowSums(*each) for each in found.get("windows", ())]
        return cls(windows, report.get("window_s", WIDTHS[0]), policy is None)

    def sum_all(self) -> SummarySums:
        """The sums over all of them."""
        return SummarySums.from_windows(self.windows, is_logged=self.is_logged)

    def cut(self, start: float, end: float) -> "WindowSeries":
        """Those that lie, in part at least, between two moments."""
        kept = [each for each in self.windows if each.begins + self.width > start and each.begins < end]
        return WindowSeries(kept, self.width, self.is_logged)

    def join(self, width: float, kind: WindowKind) -> list[tuple[float, SummarySums]]:
        """Sums by windows of another length, each with its beginning; never shorter than those that there are."""
        width = max(width, self.width)
        rolling: dict[float, list[WindowSums]] = {}
        for each in self.windows:
            rolling.setdefault(math.floor(each.begins / width) * width, []).append(each)
        joined = [
            (begins, SummarySums.from_windows(within, is_logged=self.is_logged)) for begins, within in rolling.items()
        ]
        if kind == "Rolling":
            return joined
        so_far, expanding = SummarySums(), []
        for begins, sums in joined:
            so_far = so_far.add(sums)
            expanding.append((begins, so_far))
        return expanding

    def to_summaries(self) -> list[dict[str, Any]]:
        """A summary of each, as versions 1 have it."""
        length = format_duration(self.width)
        return [sums.to_summary(format_date(begins), length) for begins, sums in self.join(self.width, "Rolling")]


def find_best(results: Mapping[str, Mapping[str, Any]]) -> str:
    """The name of the policy of the highest mean reward; the first of equals, and "" of none.

    Args:
        results: the total summary of each by name.
    """
    return max(results, key=lambda name: float(results[name]["averageReward"]), default="")
