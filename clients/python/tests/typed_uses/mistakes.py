"""What a checker must say no to: each line has one mistake, and the ignore would be one too many without it."""

from bandstand_client import AsyncBandstand, Bandstand
from bandstand_client.testing import FakeBandstand


def threads(client: Bandstand) -> None:
    """Mistakes of a product with threads."""
    client.score("ada", [1, 2])  # type: ignore[type-var]
    client.score("ada", [1, 2], encode=len)  # type: ignore[arg-type]
    client.score("ada")  # type: ignore[call-overload]
    client.decision("id").react("liked")  # type: ignore[arg-type]
    client.decision("id").reward("good")  # type: ignore[arg-type]
    _ = client.stats("ada").pull  # type: ignore[attr-defined]
    client.health().ok = False  # type: ignore[misc]
    client.outbox(when_full="panic")  # type: ignore[arg-type]
    FakeBandstand().failing("on fire")  # type: ignore[arg-type]


async def loops(client: AsyncBandstand) -> None:
    """Mistakes of a product with an event loop."""
    _ = (await client.score("ada", [1, 2])).pick  # type: ignore[type-var]
    _ = client.score("ada", ["tea"]).pick  # type: ignore[attr-defined]
