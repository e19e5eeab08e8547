"""What became of turns that were taken as rewards."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from bandstand_client.areas.sender import Sender
from bandstand_client.call import LONG_S, build_get, build_parser, build_post, to_text
from bandstand_client.lazy import LazyModule

if TYPE_CHECKING:
    from bandstand_client import answers
else:
    answers = LazyModule("bandstand_client.answers")


class JudgementCalls(Sender):
    """Calls about judgements; to change one takes an ``admin`` key."""

    def judgements(
        self, *, status: str | None = None, before: int | None = None, limit: int | None = None
    ) -> answers.JudgementPage:
        """A page of turns taken as rewards, newest first.

        Args:
            status: ``waiting``, ``scored`` (also ``taught`` or ``withheld``) or ``unscored``; all if left out.
            before: ``next`` of the page before.
            limit: 1 to 1,000; 100 if left out.

        Example:
            >>> taken = client.score("ada", ["tea"]).turn("What now?", "Drink tea.", "Lovely, thank you!")
            >>> client.judgements(limit=1).judgements[0].judgement_id == taken.judgement_id
            True
        """
        parse = build_parser(answers.JudgementPage)
        return self.send(build_get("/judgements", parse, status=status, before=before, limit=limit))

    def judgement(self, judgement_id: str) -> answers.Judgement:
        """A judgement with its verdict, and everything that was made of it.

        Raises:
            UnknownJudgementError: there is none, or its user was erased.

        Example:
            >>> taken = client.score("ada", ["tea"]).turn("What now?", "Drink tea.", "Lovely, thank you!")
            >>> client.judgement(taken.judgement_id or "").user_id
            'ada'
        """
        ids = {"judgement_id": judgement_id}
        return self.send(build_get("/judgements/{judgement_id}", build_parser(answers.Judgement), ids=ids))

    def override_judgement(self, judgement_id: str, label: str) -> answers.Judgement:
        """Put a person's verdict in the place of the judge's; what that taught is taken back exactly.

        Raises:
            RewardPendingError: it is still being judged.
            JudgementExpiredError: what it taught cannot be told from the rest any more.

        Example:
            >>> turn = ("What now?", "Drink tea.", "Lovely, thank you!")
            >>> judged = client.score("ada", ["tea"]).turn(*turn, wait=True)
            >>> client.override_judgement(judged.judgement_id or "", "neutral").reward
            0.0
        """
        ids = {"judgement_id": judgement_id}
        parse = build_parser(answers.Judgement)
        return self.send(build_post("/judgements/{judgement_id}/override", parse, {"label": label}, ids=ids))

    def retry_judgements(
        self,
        *,
        judgement_ids: Sequence[str] | None = None,
        since: datetime | str | None = None,
        reason: str | None = None,
    ) -> answers.RetriedJudgements:
        """Let unscored turns wait for the judge again.

        Args:
            judgement_ids: these, at most 1,000; else all that fit.
            since: taken then or later, with its zone.
            reason: unscored for this reason.

        Example:
            >>> client.retry_judgements(reason="timeout").retried
            0
        """
        ids = None if judgement_ids is None else list(judgement_ids)
        body = {"judgement_ids": ids, "since": to_text(since), "reason": reason}
        return self.send(build_post("/judgements/retry", build_parser(answers.RetriedJudgements), body))

    def reapply_judgements(self, since: datetime | str) -> answers.ReappliedJudgements:
        """Hold the verdicts of turns taken since then to the gate as it is now, with no call of any judge.

        Example:
            >>> client.reapply_judgements("2999-01-01T00:00:00+00:00").looked_at
            0
        """
        body = {"since": to_text(since)}
        parse = build_parser(answers.ReappliedJudgements)
        return self.send(build_post("/judgements/reapply", parse, body, seconds=LONG_S))
