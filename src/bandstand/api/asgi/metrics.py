"""Prometheus metrics of one application: requests, decisions, rewards, commits, and the store's own state."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from bandstand.api.asgi.event_counter import EventCounter
from bandstand.api.asgi.latency_histogram import Latencies, LatencyHistogram
from bandstand.api.asgi.thread_cpu import ThreadCpuCollector
from bandstand.judge_worker.options import JudgeStatus
from bandstand.learning.shadows import ShadowStatus
from bandstand.service.experiment import ExperimentStatus
from bandstand.service.feature_health import FeatureReport
from bandstand.service.latency import RouteLatency
from bandstand.store.records import StoreStatus

_LATENCIES = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_WATCHED = ("/score", "/reward")
_MAX_TENANTS = 1000  # a label of a metric lives as long as the process
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """Counters and histograms of one loop; those that every request counts in are of one thread, this one.

    Args:
        of_process: show what is the whole process's too.

    Attributes:
        loops: those of other loops, by name, which are shown too, with a label.
    """

    def __init__(self, *, of_process: bool = True) -> None:
        self.loops: dict[str, Metrics] = {}
        self._registry = CollectorRegistry()
        self._requests = LatencyHistogram(
            "bandstand_request_seconds", "Time to answer a request.", ("method", "route", "status"), _LATENCIES
        )
        self._registry.register(self._requests)
        self._decisions = EventCounter("bandstand_decisions", "Decisions made.", ("policy", "exploring"))
        self._rewards = EventCounter("bandstand_rewards", "Rewards taken.", ("policy", "applied"))
        self._registry.register(self._decisions)
        self._registry.register(self._rewards)
        self._unknown_events = Counter(
            "bandstand_personalizer_unknown_events",
            "Calls of Personalizer's wire about an event that is not known.",
            ("call",),
            registry=self._registry,
        )
        self._generations = Counter(
            "bandstand_generations", "Requests answered with tips.", ("prompt_version",), registry=self._registry
        )
        self._tips = Counter("bandstand_tips", "Tips written.", ("prompt_version",), registry=self._registry)
        self._tokens = Counter(
            "bandstand_generate_tokens", "Tokens spent on tips.", ("prompt_version", "kind"), registry=self._registry
        )
        self._arms = Gauge(
            "bandstand_experiment_users", "Users an arm of the experiment met.", ("policy",), registry=self._registry
        )
        self._ratio = Gauge(
            "bandstand_experiment_p_value", "Of the sample ratio; 1 while too few are met.", registry=self._registry
        )
        self._ratio.set(1.0)
        self._opinions = Counter(
            "bandstand_opinions", "What the judge was asked.", ("task", "tier", "outcome"), registry=self._registry
        )
        self._opinion_seconds = Histogram(
            "bandstand_opinion_seconds",
            "Time to answer a request for opinions.",
            ("task",),
            buckets=_LATENCIES,
            registry=self._registry,
        )
        self._arbitrations = Counter(
            "bandstand_arbitrations", "Intents decided.", ("tenant", "outcome"), registry=self._registry
        )
        self._tenants: set[str] = set()
        self._commit_size = Histogram(
            "bandstand_commit_events", "Events in one commit of the ledger.", buckets=_SIZES, registry=self._registry
        )
        self._commit_seconds = Histogram(
            "bandstand_commit_seconds",
            "Time of one commit of the ledger.",
            ("synced",),
            buckets=_LATENCIES,
            registry=self._registry,
        )
        self._synced = {synced: self._commit_seconds.labels(str(synced).lower()) for synced in (True, False)}
        if of_process:
            self._registry.register(ThreadCpuCollector())

    def register_judging(self, get_status: Callable[[], JudgeStatus]) -> None:
        """Show what becomes of turns, read at each scrape."""
        self._registry.register(_JudgeCollector(get_status))

    def register_shadows(self, get_status: Callable[[], ShadowStatus | None]) -> None:
        """Show how the shadow policies keep up, read at each scrape."""
        self._registry.register(_ShadowCollector(get_status))

    def register_store(self, get_status: Callable[[], StoreStatus]) -> None:
        """Show the store's state, read at each scrape."""
        self._registry.register(_StoreCollector(get_status))

    def register_features(self, get_report: Callable[[], FeatureReport]) -> None:
        """Show what callers send and nobody reads, and the reverse, read at each scrape."""
        self._registry.register(_FeatureCollector(get_report))

    def record_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answered request; methods that no route has share one label, since a caller may invent any."""
        self.get_latencies(method, route, status).observe(seconds)

    def get_latencies(self, method: str, route: str, status: int) -> Latencies:
        """Where answered requests of one kind are counted."""
        return self._requests.get((method if method in _METHODS else "other", route, str(status)))

    def list_latencies(self) -> list[RouteLatency]:
        """The latencies of the two calls that products wait for, ``/score`` and ``/reward``, if they were called."""
        found = []
        for route in _WATCHED:
            requests, (p50, p99) = self._requests.compute_quantiles(("POST", route), (0.5, 0.99))
            if requests:
                found.append(RouteLatency(route=route, requests=requests, p50=p50, p99=p99))
        return found

    def record_decision(self, policy: str, *, exploring: bool) -> None:
        """Count a decision."""
        self._decisions.count((policy, "true" if exploring else "false"))

    def record_reward(self, policy: str, *, applied: bool) -> None:
        """Count a reward."""
        self._rewards.count((policy, "true" if applied else "false"))

    def record_unknown_event(self, call: str) -> None:
        """Count a call of Personalizer's wire about an event that is not known."""
        self._unknown_events.labels(call).inc()

    def record_generation(self, prompt_version: str, tips: int, prompt_tokens: int, completion_tokens: int) -> None:
        """Count a generation, its tips and its tokens."""
        self._generations.labels(prompt_version).inc()
        self._tips.labels(prompt_version).inc(tips)
        self._tokens.labels(prompt_version, "prompt").inc(prompt_tokens)
        self._tokens.labels(prompt_version, "completion").inc(completion_tokens)

    def record_experiment(self, status: ExperimentStatus | None) -> None:
        """Show how the users of an experiment came out."""
        if status is not None:
            for policy, arm in status.arms.items():
                self._arms.labels(policy).set(arm.users)
            self._ratio.set(1.0 if status.p_value is None else status.p_value)

    def record_opinion(self, task: str, tier: str, outcome: str) -> None:
        """Count an opinion by the tier that gave it, or by the reason for having none."""
        self._opinions.labels(task, tier, outcome).inc()

    def record_opinion_time(self, task: str, seconds: float) -> None:
        """Count the time of one request for opinions."""
        self._opinion_seconds.labels(task).observe(seconds)

    def record_arbitration(self, tenant: str, outcome: str) -> None:
        """Count a tenant's message by what decided it; tenants after the first thousand are not counted."""
        if tenant in self._tenants or len(self._tenants) < _MAX_TENANTS:
            self._tenants.add(tenant)
            self._arbitrations.labels(tenant, outcome).inc()

    def record_commit(self, events: int, seconds: float, synced: bool) -> None:  # noqa: FBT001 (the store's CommitObserver)
        """Count a commit."""
        self._commit_size.observe(events)
        self._synced[synced].observe(seconds)

    def render(self) -> bytes:
        """The text exposition format."""
        return generate_latest(_AllLoops(self) if self.loops else self._registry)

    def collect(self) -> Iterator[Metric]:
        """The metrics of this loop alone."""
        yield from self._registry.collect()


class _AllLoops(CollectorRegistry):
    """The metrics of the default loop as ever, and those of each other one under the same names, with a label."""

    def __init__(self, default: Metrics) -> None:
        super().__init__()
        self._default = default

    def collect(self) -> Iterator[Metric]:
        families = {family.name: family for family in self._default.collect()}
        for name, metrics in self._default.loops.items():
            for family in metrics.collect():
                known = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                known.samples += [sample._replace(labels={**sample.labels, "loop": name}) for sample in family.samples]
        yield from families.values()


class _JudgeCollector(Collector):
    def __init__(self, get_status: Callable[[], JudgeStatus]) -> None:
        self._get_status = get_status

    def collect(self) -> Iterator[Metric]:
        status = self._get_status()
        outcomes = CounterMetricFamily(
            "bandstand_judgements", "Turns judged, by what came of them.", labels=("policy", "state", "reason")
        )
        for labels, count in status.outcomes.items():
            outcomes.add_metric(labels, count)
        yield outcomes
        yield GaugeMetricFamily("bandstand_turns_waiting", "Turns without a verdict yet.", status.waiting)
        yield GaugeMetricFamily(
            "bandstand_judge_tokens_today",
            "Tokens of the judge's LLM in this UTC day, reserved ones too.",
            status.tokens,
        )
        yield GaugeMetricFamily(
            "bandstand_judge_usd_today",
            "US dollars of the judge's LLM in this UTC day, reserved ones too.",
            status.usd,
        )
        yield CounterMetricFamily(
            "bandstand_judge_over_budget", "Turns and calls for which there was no budget.", status.over_budget
        )
        yield CounterMetricFamily(
            "bandstand_judge_deaths", "Times that the judge's process died with work in it.", status.deaths
        )


class _ShadowCollector(Collector):
    def __init__(self, get_status: Callable[[], ShadowStatus | None]) -> None:
        self._get_status = get_status

    def collect(self) -> Iterator[Metric]:
        status = self._get_status()
        if status is None:
            return
        yield GaugeMetricFamily(
            "bandstand_shadow_waiting", "Decisions that policies in the shadow have yet to look at.", status.waiting
        )
        yield CounterMetricFamily(
            "bandstand_shadow_dropped",
            "Decisions of which no shadow was logged, for want of time or room.",
            status.dropped,
        )
        yield CounterMetricFamily("bandstand_shadow_failed", "Looks that came to no answer.", status.failed)


class _FeatureCollector(Collector):
    def __init__(self, get_report: Callable[[], FeatureReport]) -> None:
        self._get_report = get_report

    def collect(self) -> Iterator[Metric]:
        report = self._get_report()
        unread = CounterMetricFamily(
            "bandstand_unread_fields", "Fields that came and no schema reads.", labels=("location", "field")
        )
        for field in report.unread:
            unread.add_metric((field.where, field.name), field.count)
        yield unread
        sent = GaugeMetricFamily(
            "bandstand_field_share",
            "Share of requests, or candidates, that brought a field the policy reads.",
            labels=("policy", "location", "field"),
        )
        for read in report.fields:
            sent.add_metric((read.policy, read.where, read.name), read.share)
        yield sent
        alike = CounterMetricFamily(
            "bandstand_alike_requests", "Requests whose candidates all read the same.", labels=("policy",)
        )
        for contrast in report.contrasts:
            alike.add_metric((contrast.policy,), contrast.alike)
        yield alike


class _StoreCollector(Collector):
    def __init__(self, get_status: Callable[[], StoreStatus]) -> None:
        self._get_status = get_status

    def collect(self) -> Iterator[Metric]:
        status = self._get_status()
        yield GaugeMetricFamily("bandstand_warm_users", "Users whose state is in memory.", status.warm_users)
        yield GaugeMetricFamily("bandstand_pending_events", "Events waiting for a commit.", status.pending)
        yield GaugeMetricFamily(
            "bandstand_quarantined_documents", "Documents set aside since the start.", status.quarantined
        )
        yield GaugeMetricFamily("bandstand_ready", "1 while the store takes events.", float(status.state == "ready"))
        if status.details.get("store") == "postgresql":
            yield from _collect_shared(status.details)


_SHARED_GAUGES = {
    "leader": "1 while this process does what one does for all.",
    "processes": "Processes that share the ledger.",
    "configurations": "Different settings that these have.",
    "lease_seconds": "Until the lease of this process's event numbers ends.",
    "due_checkpoints": "Users whose state is to be written.",
    "synchronous_standbys": "Connected standbys that commits wait for, where the role may see them.",
}


def _collect_shared(details: Mapping[str, Any]) -> Iterator[Metric]:
    """What a process sees of a ledger that it shares."""
    for name, text in _SHARED_GAUGES.items():
        if details[name] is not None:
            yield GaugeMetricFamily(f"bandstand_shared_{name}", text, float(details[name]))
    yield GaugeMetricFamily(
        "bandstand_shared_clock_skew_seconds",
        "By how much this clock is ahead of the database's.",
        details["clock_skew_ms"] / 1000,
    )
    yield CounterMetricFamily(
        "bandstand_shared_stale_scores", "Decisions made again after a reward elsewhere.", details["stale_scores"]
    )
    yield CounterMetricFamily(
        "bandstand_shared_refreshed_scores",
        "Decisions before which rewards elsewhere were read.",
        details["refreshed_scores"],
    )
    kinds = ("pool",)
    calls = CounterMetricFamily("bandstand_shared_calls", "Work done on the database.", labels=kinds)
    seconds = CounterMetricFamily("bandstand_shared_seconds", "Time that it took.", labels=kinds)
    opened = GaugeMetricFamily("bandstand_shared_connections", "Open connections.", labels=kinds)
    busy = GaugeMetricFamily("bandstand_shared_busy_connections", "Those in use.", labels=kinds)
    errors = CounterMetricFamily(
        "bandstand_shared_errors", "Tries that failed, by SQLSTATE or name.", labels=(*kinds, "code")
    )
    for pool, figures in details["pools"].items():
        for family, name in ((calls, "calls"), (seconds, "seconds"), (opened, "open"), (busy, "busy")):
            family.add_metric((pool,), figures[name])
        for code, count in figures["errors"].items():
            errors.add_metric((pool, code), count)
    yield from (calls, seconds, opened, busy, errors)
