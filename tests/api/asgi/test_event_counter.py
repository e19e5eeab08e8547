"""Our counter shows what the library's own would, whatever it counts."""

from prometheus_client import CollectorRegistry, Counter, generate_latest

from bandstand.api.asgi.event_counter import EventCounter


def test_it_shows_what_the_librarys_own_would() -> None:
    registry, other = CollectorRegistry(), CollectorRegistry()
    ours = EventCounter("events", "What happened.", ("kind", "done"))
    registry.register(ours)
    theirs = Counter("events", "What happened.", ("kind", "done"), registry=other)
    for number in range(8):
        labels = f"kind-{number % 3}", "true"
        ours.count(labels)
        theirs.labels(*labels).inc()
    shown, expected = (
        [line for line in generate_latest(each).decode().splitlines() if "_created{" not in line]
        for each in (registry, other)
    )
    assert shown == expected
    assert generate_latest(registry).count(b"_created{") == 3
