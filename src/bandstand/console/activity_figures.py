"""The Overview's four small figures: mean reward, decisions, rewards that come, and exploration, over time."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

from bandstand.console.figures import COLOURS, Figure, format_hour, make_figure
from bandstand.reporting.figure import build_banded_line
from bandstand.service.shadow_value import NORMAL_QUANTILE
from bandstand.store.tables.console_queries import PolicyActivity

_HOUR = 3600
_DAY = 24


@dataclass(frozen=True, slots=True)
class _Rate:
    """A mean over what a policy did.

    Attributes:
        total: of a stretch, the sum that is divided.
        count: by what.
        unit: of ``count``, for people.
        deviation: of one term, from the mean; ``None`` if it is not known.
    """

    total: Callable[[PolicyActivity], float]
    count: Callable[[PolicyActivity], int]
    unit: str
    deviation: Callable[[float], float | None]


def build_activity_figures(
    activity: Sequence[PolicyActivity],
    policies: Sequence[str],
    hours: range,
    deviations: Mapping[str, float] | None = None,
) -> dict[str, Figure]:
    """Draw what policies did over time: the mean reward of each, its decisions, its rewards and its exploration.

    Stretches shorter than a day are drawn as points, and a line through the mean of the day that ends with each: what
    people want goes by the hour. Its band is of 95 %.

    Args:
        activity: sums by policy over stretches of hours, those of a day before the first to be drawn too.
        policies: in the order of their colours; those that did nothing are left out.
        hours: where each stretch to be drawn begins, in hours since the epoch.
        deviations: of a reward, by policy; without, its mean has no band.
    """
    traces: dict[str, list[Figure]] = {"reward": [], "decisions": [], "arrivals": [], "exploration": []}
    for index, policy in enumerate(policies):
        mine = [each for each in activity if each.policy == policy]
        drawn = [each for each in mine if each.hour >= hours.start]
        if not drawn:
            continue
        colour = COLOURS[index % len(COLOURS)]
        for name, rate in _build_rates(None if deviations is None else deviations.get(policy)).items():
            traces[name] += _build_rate_traces(policy, mine, hours, colour, rate)
        traces["decisions"].append(
            {
                "type": "bar",
                "name": policy,
                "x": [format_hour(each.hour) for each in drawn],
                "y": [each.decisions for each in drawn],
                "width": hours.step * _HOUR * 900,  # milliseconds: nine tenths of a stretch
                "offset": 0,
                "marker": {"color": colour},
                "hovertemplate": "%{y:,}",
            }
        )
    figures = {name: make_figure(found) for name, found in traces.items()}
    figures["decisions"]["layout"]["barmode"] = "stack"
    for name in ("arrivals", "exploration"):
        figures[name]["layout"]["yaxis"] |= {"tickformat": ".1~%", "rangemode": "tozero"}
    for figure in figures.values():
        figure["layout"]["xaxis"]["range"] = [format_hour(hours.start), format_hour(hours.stop)]
    return figures


def _build_rates(reward_deviation: float | None) -> dict[str, _Rate]:
    return {
        "reward": _Rate(lambda each: each.reward_sum, lambda each: each.rewards, "rewards", lambda _: reward_deviation),
        "arrivals": _Rate(
            lambda each: each.rewards, lambda each: each.decisions, "decisions", _compute_share_deviation
        ),
        "exploration": _Rate(
            lambda each: each.explores, lambda each: each.decisions, "decisions", _compute_share_deviation
        ),
    }


def _compute_share_deviation(share: float) -> float | None:
    """√(p (1 − p)), of one term of a share p; none where more came than there were."""
    return sqrt(share * (1.0 - share)) if share <= 1.0 else None


def _build_rate_traces(
    policy: str, activity: Sequence[PolicyActivity], hours: range, colour: str, rate: _Rate
) -> list[Figure]:
    known = [each for each in activity if rate.count(each)]
    drawn = [each for each in known if each.hour >= hours.start]
    means, halves = [], list[float | None]()
    for each in drawn:
        of_day = [other for other in known if each.hour - _DAY + hours.step <= other.hour <= each.hour]
        n = sum(rate.count(other) for other in of_day)
        means.append(sum(rate.total(other) for other in of_day) / n)
        deviation = rate.deviation(means[-1])
        halves.append(None if deviation is None else NORMAL_QUANTILE * deviation / n**0.5)
    style = {"color": colour, "width": 2}
    x, counts = [format_hour(each.hour) for each in drawn], [rate.count(each) for each in drawn]
    number = "%{y:.3f}" if rate.unit == "rewards" else "%{y:.1%}"
    of_stretch = f"{number} over %{{customdata:,}} {rate.unit}"
    traces = build_banded_line(policy, x, means, halves, style)
    traces[-1] |= {
        "customdata": counts,
        "hovertemplate": f"{number} over a day" if hours.step < _DAY else of_stretch,
        "mode": "lines" if len(drawn) > 1 else "lines+markers",
    }
    if hours.step < _DAY:
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": policy,
                "legendgroup": policy,
                "showlegend": False,
                "x": x,
                "y": [rate.total(each) / rate.count(each) for each in drawn],
                "customdata": counts,
                "hovertemplate": of_stretch,
                "marker": {"color": colour, "size": 5, "opacity": 0.5},
            }
        )
    return traces
