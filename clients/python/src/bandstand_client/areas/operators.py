"""What operators do: promote, reset, erase, take back."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from bandstand_client.areas.sender import Sender
from bandstand_client.call import LONG_S, build_delete, build_get, build_parser, build_post, to_text
from bandstand_client.lazy import LazyModule

if TYPE_CHECKING:
    from bandstand_client import answers
else:
    answers = LazyModule("bandstand_client.answers")


class OperatorCalls(Sender):
    """Calls that change what is served or known; an ``admin`` key is needed."""

    def promote(self, policy: str) -> answers.ActivePolicy:
        """Make a policy the active one, for the next decision and for good. Idempotent.

        Raises:
            PromotionRefusedError: a setting says which policy is active.

        Example:
            >>> client.promote("thompson-v1").active
            'thompson-v1'
            >>> client.demote("thompson-v1").active
            'linucb-v2'
        """
        ids = {"policy": policy}
        return self.send(build_post("/policies/{policy}/promote", build_parser(answers.ActivePolicy), ids=ids))

    def demote(self, policy: str) -> answers.ActivePolicy:
        """Go back from a policy to the one that was promoted before it; another that is active stays. Idempotent.

        Raises:
            PromotionRefusedError: it is active without being promoted, or a setting says which policy is active.

        Example:
            >>> client.promote("squarecb-v1").active
            'squarecb-v1'
            >>> client.demote("squarecb-v1").active
            'linucb-v2'
        """
        ids = {"policy": policy}
        return self.send(build_post("/policies/{policy}/demote", build_parser(answers.ActivePolicy), ids=ids))

    def reset(self, user_id: str) -> answers.Ok:
        """Make every policy forget a user: state and history. Idempotent.

        Example:
            >>> client.reset("ada").ok
            True
        """
        return self.send(build_post("/reset", build_parser(answers.Ok), {"user_id": user_id}))

    def erase(self, user_id: str) -> answers.Erasure:
        """Erase everything that is held about a user, for good; the receipt counts what went. Idempotent.

        Example:
            >>> client.score("ada", ["tea"]).pick
            'tea'
            >>> client.erase("ada").erased["decisions"]
            1
        """
        return self.send(build_delete("/users", build_parser(answers.Erasure), user_id=user_id))

    def users(self, *, prefix: str | None = None, after: int | None = None, limit: int | None = None) -> answers.Users:
        """A page of known users, in order of first sight.

        Args:
            prefix: what their ids begin with.
            after: ``next`` of the page before.
            limit: 1 to 1,000; 100 if left out.

        Example:
            >>> client.score("ada", ["tea"]).pick
            'tea'
            >>> [user.user_id for user in client.users(prefix="ada").users]
            ['ada']
        """
        parse = build_parser(answers.Users)
        return self.send(build_get("/users", parse, prefix=prefix, after=after, limit=limit))

    def revoke(
        self,
        *,
        decision_id: str | None = None,
        client: str | None = None,
        judge_version: str | None = None,
        since: datetime | str | None = None,
        until: datetime | str | None = None,
        dry_run: bool = False,
    ) -> answers.Revocation:
        """Take rewards back out of what they taught: those that fit everything given. Idempotent.

        Args:
            decision_id: the reward of this decision.
            client: what the API key of this name gave.
            judge_version: what verdicts of this model or prompt hash taught.
            since: given then or later, with its zone.
            until: given before.
            dry_run: change nothing, and answer what would be.

        Example:
            >>> decision = client.score("ada", ["tea"])
            >>> decision.reward(-1.0).applied
            True
            >>> client.revoke(decision_id=decision.id).rewards
            1
        """
        body = {
            "decision_id": decision_id,
            "client": client,
            "judge_version": judge_version,
            "since": to_text(since),
            "until": to_text(until),
            "dry_run": dry_run,
        }
        return self.send(build_post("/revocations", build_parser(answers.Revocation), body, seconds=LONG_S))

    def revocations(self, *, before: int | None = None, limit: int | None = None) -> answers.Revocations:
        """A page of what was taken back, the newest first.

        Args:
            before: ``next`` of the page before.
            limit: 1 to 1,000; 100 if left out.

        Example:
            >>> len(client.revocations(limit=1).revocations) <= 1
            True
        """
        return self.send(build_get("/revocations", build_parser(answers.Revocations), before=before, limit=limit))

    def reapply_reactions(
        self, *, since: datetime | str | None = None, dry_run: bool = True
    ) -> answers.ReactionsReapplied:
        """Let reactions of the past teach what they are worth under the loop's present table. Idempotent.

        Args:
            since: sent then or later, with its zone.
            dry_run: change nothing, and answer what would be; false does it.

        Example:
            >>> client.reapply_reactions().revised
            0
        """
        body = {"since": to_text(since), "dry_run": dry_run}
        parse = build_parser(answers.ReactionsReapplied)
        return self.send(build_post("/reactions/reapply", parse, body, seconds=LONG_S))
