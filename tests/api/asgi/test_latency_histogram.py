"""Our histogram shows what the library's own would, whatever it counts."""

from prometheus_client import CollectorRegistry, Histogram, generate_latest

from bandstand.api.asgi.latency_histogram import LatencyHistogram

BOUNDS = (0.001, 0.5, 1.0)


def test_it_shows_what_the_librarys_own_would() -> None:
    registry, other = CollectorRegistry(), CollectorRegistry()
    ours = LatencyHistogram("seconds_taken", "Time.", ("route", "status"), BOUNDS)
    registry.register(ours)
    theirs = Histogram("seconds_taken", "Time.", ("route", "status"), buckets=BOUNDS, registry=other)
    for number, seconds in enumerate((0.0, 0.001, 0.0011, 0.5, 0.75, 1.0, 1.5, 30.0)):
        labels = f"/{number % 3}", "200"
        ours.observe(labels, seconds)
        theirs.labels(*labels).observe(seconds)
    shown, expected = (
        [line for line in generate_latest(each).decode().splitlines() if "_created{" not in line]
        for each in (registry, other)
    )
    assert shown == expected
    assert generate_latest(registry).count(b"_created{") == 3


def test_quantiles_lie_where_the_counts_do() -> None:
    ours = LatencyHistogram("seconds_taken", "Time.", ("method", "route", "status"), BOUNDS)
    for status, seconds in (("200", 0.0005), ("200", 0.0007), ("200", 0.25), ("404", 0.75)):
        ours.observe(("POST", "/score", status), seconds)
    ours.observe(("GET", "/score", "200"), 30.0)
    assert ours.compute_quantiles(("POST", "/score"), (0.25, 0.5, 0.75, 1.0)) == (4, [0.0005, 0.001, 0.5, 1.0])
    assert ours.compute_quantiles(("GET", "/score"), (0.5,)) == (1, [None]), "beyond the largest bound"
    assert ours.compute_quantiles(("POST", "/reward"), (0.5,)) == (0, [None])


def test_a_series_is_shown_once_something_is_counted_in_it() -> None:
    registry = CollectorRegistry()
    ours = LatencyHistogram("seconds_taken", "Time.", ("route",), BOUNDS)
    registry.register(ours)
    series = ours.get(("/score",))
    assert b"/score" not in generate_latest(registry)
    series.observe(0.75)
    ours.observe(("/score",), 0.25)
    assert b'seconds_taken_count{route="/score"} 2.0\n' in generate_latest(registry)
