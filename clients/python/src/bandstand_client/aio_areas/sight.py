"""What the service knows: of users, decisions, policies and itself.

Written by ``tools/write_client.py`` from ``areas``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bandstand_client.aio_areas.sender import AsyncSender
from bandstand_client.call import Call, build_get, build_parser, build_post
from bandstand_client.lazy import LazyModule

if TYPE_CHECKING:
    from bandstand_client import answers
else:
    answers = LazyModule("bandstand_client.answers")


class AsyncSightCalls(AsyncSender):
    """Calls that look and change nothing; a ``read`` key is enough."""

    async def stats(self, user_id: str, *, policy: str | None = None) -> answers.UserStats:
        """What a policy knows of a user; zeros for a user never met.

        Args:
            user_id: any id.
            policy: a policy's name; the active one if left out.

        Example:
            >>> (await (await client.score("ada", ["tea", "coffee"])).reward(0.5)).applied
            True
            >>> (await client.stats("ada")).reward_count
            1
        """
        return await self.send(build_get("/stats", build_parser(answers.UserStats), user_id=user_id, policy=policy))

    async def deployment_stats(self) -> answers.DeploymentStats:
        """The whole deployment's numbers: by policy, experiments, shadows, the judge, the health of the loop.

        Example:
            >>> (await client.score("ada", ["tea"])).pick
            'tea'
            >>> (await client.deployment_stats()).decisions >= 1
            True
        """
        return await self.send(build_get("/stats", build_parser(answers.DeploymentStats)))

    async def history(self, user_id: str) -> answers.History:
        """A user's newest 100 decisions since the last reset, oldest first.

        Example:
            >>> (await client.score("ada", ["tea"])).pick
            'tea'
            >>> [each.tip_id for each in (await client.history("ada")).history]
            ['tea']
        """
        return await self.send(build_get("/features", build_parser(answers.History), user_id=user_id))

    async def receipt(self, decision_id: str, *, explain: bool = False) -> answers.Receipt:
        """Everything that a decision was made of, and the reward that stands for it.

        Args:
            decision_id: which.
            explain: say too what each candidate's mean is made of by feature, as the user is believed to be now.

        Raises:
            UnknownDecisionError: no such decision, or it was erased, or is too old.

        Example:
            >>> decision = await client.score("ada", ["tea", "coffee"])
            >>> receipt = await client.receipt(decision.id)
            >>> len(receipt.candidates), receipt.reward
            (2, None)
        """
        ids, asked = {"decision_id": decision_id}, "true" if explain else None
        return await self.send(
            build_get("/decisions/{decision_id}", build_parser(answers.Receipt), ids=ids, explain=asked)
        )

    async def activate(self, decision_id: str) -> answers.Activation:
        """Say that a decision that was held back has been shown: from now on its rewards teach. May be repeated.

        Raises:
            UnknownDecisionError: no such decision, or it was erased, or is too old.

        Example:
            >>> decision = await client.score("ada", ["tea", "coffee"], defer=True)
            >>> (await decision.reward(0.5)).reason
            'held'
            >>> (await client.activate(decision.id)).reward
            0.5
        """
        ids, parser = {"decision_id": decision_id}, build_parser(answers.Activation)
        return await self.send(build_post("/decisions/{decision_id}/activate", parser, ids=ids))

    async def policies(self) -> answers.Policies:
        """The configured policies, which one is active, and how that came about.

        Example:
            >>> (await client.policies()).active
            'linucb-v2'
        """
        return await self.send(build_get("/policies", build_parser(answers.Policies)))

    async def health(self) -> answers.Health:
        """The process lives.

        Example:
            >>> (await client.health()).ok
            True
        """
        return await self.send(build_get("/health", build_parser(answers.Health)))

    async def ready(self) -> answers.Ready:
        """The store takes events.

        Raises:
            NotReadyError: it does not yet, or no longer.

        Example:
            >>> (await client.ready()).ready
            True
        """
        return await self.send(build_get("/ready", build_parser(answers.Ready)))

    async def metrics(self) -> str:
        """The service's own metrics, as Prometheus reads them.

        Example:
            >>> "bandstand_decisions" in (await client.metrics())
            True
        """
        return await self.send(Call("GET", "/metrics", "/metrics", str, text=True))
