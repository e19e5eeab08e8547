"""The protocol of everything that can judge a turn: rules, classifier, the two combined, an LLM, the arbiter's mix."""

from typing import Protocol

from bandstand.judge.taxonomy import Taxonomy
from bandstand.judge.turn import CutTurn
from bandstand.judge.verdict import Judged, Verdict


class Tier(Protocol):
    """Names how a user took an answer. It takes cut turns only, so no tier can see more than the limits allow."""

    @property
    def name(self) -> str:
        """What verdicts carry as their tier."""
        ...

    @property
    def model(self) -> str:
        """What exactly judges, with its hash or version; verdicts carry it too."""
        ...

    @property
    def taxonomy(self) -> Taxonomy:
        """Whose labels it gives."""
        ...

    async def judge(self, turn: CutTurn) -> Judged:
        """Return a verdict, or the reason for having none; raises only on a fault of the program."""
        ...


class LocalTier(Tier, Protocol):
    """A tier that needs no network: it always has a verdict, at once."""

    def verdict(self, turn: CutTurn) -> Verdict:
        """Return the verdict; microseconds, so it may be called where nothing may wait."""
        ...
