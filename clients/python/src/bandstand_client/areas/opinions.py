"""What the judge says when it is asked; nothing is taught or stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bandstand_client.areas.sender import Sender
from bandstand_client.call import LONG_S, build_parser, build_post
from bandstand_client.lazy import LazyModule

if TYPE_CHECKING:
    from bandstand_client import answers
else:
    answers = LazyModule("bandstand_client.answers")


class OpinionCalls(Sender):
    """Calls that ask for an opinion."""

    def judge(
        self, query: str, answer: str, next_message: str, *, about: str | None = None, taxonomy: str | None = None
    ) -> answers.TurnJudgement:
        """Say how a user took an answer.

        Args:
            query: what the user asked; may be empty.
            answer: what was answered.
            next_message: what the user said next.
            about: what was chosen and what it is meant to do, such as "hints first".
            taxonomy: the labels to judge by; the deployment's own if left out.

        Raises:
            JudgeOffError: the deployment judges nothing.

        Example:
            >>> client.judge("Remind me to call mum.", "Done. Anything else?", "no").label
            'neutral'
        """
        turn = {"query_t": query, "answer_t": answer, "query_t1": next_message, "about": about, "taxonomy": taxonomy}
        parse = build_parser(answers.TurnJudgements)
        return self.send(build_post("/judge", parse, turn, seconds=LONG_S)).judgements[0]

    def judge_all(self, turns: Sequence[Mapping[str, str]]) -> tuple[answers.TurnJudgement, ...]:
        """Say the same of up to 100 turns, in their order.

        Args:
            turns: each with ``query_t``, ``answer_t``, ``query_t1`` and, if wanted, ``about`` and ``taxonomy``.

        Example:
            >>> turn = {"query_t": "Remind me to call mum.", "answer_t": "Done. Anything else?", "query_t1": "no"}
            >>> [judgement.label for judgement in client.judge_all([turn, turn])]
            ['neutral', 'neutral']
        """
        body = {"turns": [dict(turn) for turn in turns]}
        parse = build_parser(answers.TurnJudgements)
        return self.send(build_post("/judge", parse, body, seconds=LONG_S)).judgements

    def classify_feedback(
        self, message: str, previous_reply: str, *, threshold: float | None = None
    ) -> answers.FeedbackClassification:
        """Say whether a message corrects the reply before it, and how.

        Args:
            message: what the user said.
            previous_reply: what they said it to.
            threshold: a correction less sure than this is none; 0.6 if left out.

        Example:
            >>> client.classify_feedback("No, that's wrong.", "Paris is in Italy.").is_correction
            True
        """
        body = {"message": message, "previous_reply": previous_reply, "threshold": threshold}
        parse = build_parser(answers.FeedbackClassification)
        return self.send(build_post("/classify/feedback", parse, body, seconds=LONG_S))

    def arbitrate(
        self,
        tenant_id: str,
        message: str,
        *,
        rule: Mapping[str, Any] | None = None,
        semantic: Sequence[Mapping[str, Any]] = (),
        config: Mapping[str, float] | None = None,
    ) -> answers.Arbitration:
        """Decide which intent a message has: by the scores, or by an LLM where these do not settle it.

        Args:
            tenant_id: whose message.
            message: what the user said.
            rule: ``rule_id``, the intent that a rule found, and its ``score``.
            semantic: up to 100 candidates, best first: ``id``, ``name``, ``score`` and, if wanted, ``description``.
            config: thresholds in place of the deployment's.

        Example:
            >>> intents = [{"id": "lamp", "name": "Lamp on", "score": 0.9}]
            >>> client.arbitrate("home", "light, please", semantic=intents).intent_id
            'lamp'
        """
        body = {
            "tenant_id": tenant_id,
            "message": message,
            "rule": rule,
            "semantic": [dict(intent) for intent in semantic],
            "config": config,
        }
        return self.send(build_post("/arbitrate", build_parser(answers.Arbitration), body, seconds=LONG_S))
