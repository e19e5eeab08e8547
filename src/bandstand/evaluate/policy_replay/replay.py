"""Configured policies over a log of decisions: what each would have done, learning as the log continues.

At every decision a candidate policy is asked for its distribution under what the rewards logged *before* it have taught
it about the user; a reward teaches when it arrived, in its features and with its weight, whoever made the decision. So
what is evaluated is the policy as trained on this log, by what others chose: not what it would have learned from its
own choices. Since its distribution depends on the past alone, E[π(a|x)/p · r] is its value, decision by decision.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np

from bandstand.bandit.arrays import FloatArray
from bandstand.bandit.eligibility import Indices, spread
from bandstand.evaluate.errors import EvaluationError
from bandstand.evaluate.estimators.chunk import Chunk
from bandstand.evaluate.policy_replay.candidate import CandidatePolicy
from bandstand.evaluate.policy_replay.requests import LoggedRequest, encode_requests
from bandstand.evaluate.policy_replay.reward_model import RewardModel
from bandstand.evaluate.policy_replay.unread_features import FeatureCoverage
from bandstand.store.logged_events import LoggedDecision, LoggedEvent, LoggedReset, LoggedReward, LoggedState

_MAX_PENDING = 50_000
"""Picks remembered until their reward comes, which spares reading the request again; of more than these it is read."""

_EncodedRows = dict[str, dict[int, FloatArray]]
"""By schema and event number, what the event's candidates encode to, (K, d)."""


@dataclass(slots=True)
class LoggingPolicy:
    """What one policy that made decisions of the log earned.

    Attributes:
        decisions: how many it made.
        rewarded: how many of them got a reward.
        reward_sum: the sum of those.
    """

    decisions: int = 0
    rewarded: int = 0
    reward_sum: float = 0.0


@dataclass(slots=True)
class LogSummary:
    """What a log holds.

    Attributes:
        first: the earliest time of a decision, seconds since the epoch; None if there is none.
        last: the latest.
        logging_policies: by name of the policy that decided.
        users: who was decided for.
    """

    first: float | None = None
    last: float | None = None
    logging_policies: dict[str, LoggingPolicy] = field(default_factory=dict)
    users: set[int] = field(default_factory=set)

    def add(self, decision: LoggedDecision) -> None:
        """Count a decision."""
        self.first = decision.ts if self.first is None else min(self.first, decision.ts)
        self.last = decision.ts if self.last is None else max(self.last, decision.ts)
        self.users.add(decision.uid)
        logger = self.logging_policies.setdefault(decision.policy, LoggingPolicy())
        logger.decisions += 1
        if decision.reward is not None:
            logger.rewarded += 1
            logger.reward_sum += decision.reward

    def merge(self, other: "LogSummary") -> None:
        """Take in what another part of the log holds."""
        self.first = min((ts for ts in (self.first, other.first) if ts is not None), default=None)
        self.last = max((ts for ts in (self.last, other.last) if ts is not None), default=None)
        self.users |= other.users
        for name, theirs in other.logging_policies.items():
            ours = self.logging_policies.setdefault(name, LoggingPolicy())
            ours.decisions += theirs.decisions
            ours.rewarded += theirs.rewarded
            ours.reward_sum += theirs.reward_sum

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values, to the last bit."""
        return asdict(self) | {"users": sorted(self.users)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read :meth:`to_json` back."""
        policies = {name: LoggingPolicy(**counts) for name, counts in document["logging_policies"].items()}
        return cls(document["first"], document["last"], policies, set(document["users"]))


class PolicyReplay:
    """Candidate policies over the events of one log.

    Args:
        candidates: the policies that are evaluated.
        locate: what an error calls an event, from its number.
        model: also model the rewards, for estimators that want it.
        frozen_since: time from which nothing teaches the candidates any more, in seconds since the epoch; None for
            never. What retention took was always before. The reward model goes on learning: it is the estimator's,
            not the policy's.

    Attributes:
        summary: of the decisions so far.
        coverage: whether the candidates have anything that the policies' schemas read.
    """

    def __init__(
        self,
        candidates: Sequence[CandidatePolicy],
        locate: Callable[[int], str],
        *,
        model: bool = False,
        frozen_since: float | None = None,
    ) -> None:
        self.summary = LogSummary()
        self._candidates = candidates
        self._locate = locate
        self._schemas = {candidate.policy.schema.name: candidate.policy.schema for candidate in candidates}
        self._models = {name: RewardModel(schema) for name, schema in self._schemas.items()} if model else {}
        self._frozen_since = frozen_since
        self.coverage = FeatureCoverage(self._schemas)
        self._started = False
        self._pending: dict[int, LoggedRequest] = {}
        self._eligible: dict[int, Indices] = {}  # of the page's decisions that excluded candidates

    def replay_page(self, page: list[LoggedEvent]) -> list[Chunk]:
        """Replay the next events; returns their decisions as a chunk for each candidate.

        Raises:
            EvaluationError: a request cannot be encoded for a candidate.
        """
        rows = self._encode_page(page)
        decisions = [event for event in page if isinstance(event, LoggedDecision)]
        answers = [_CandidateDecisions() for _ in self._candidates]
        for event in page:
            match event:
                case LoggedDecision():
                    self._replay_decision(event, rows, answers)
                case LoggedReward():
                    self._replay_reward(event, rows)
                case LoggedReset() | LoggedState():
                    self._replay_state_change(event)
        reward = np.array([np.nan if each.reward is None else each.reward for each in decisions])
        propensity = np.array([each.propensity for each in decisions])
        ts = np.array([each.ts for each in decisions])
        numbers = [each.seq for each in decisions]
        return [
            answer.to_chunk(reward, propensity, ts, lambda index: self._locate(numbers[index])) for answer in answers
        ]

    def learn_page(self, page: list[LoggedEvent]) -> None:
        """Let the next events teach as :meth:`replay_page` does, and decide nothing.

        Raises:
            EvaluationError: what was rewarded cannot be encoded for a candidate.
        """
        rows = self._encode_page([event for event in page if isinstance(event, LoggedReward)])
        for event in page:
            match event:
                case LoggedDecision():
                    self._start()
                    for candidate in self._candidates:
                        candidate.follow_clock(event.ts)
                case LoggedReward():
                    self._replay_reward(event, rows)
                case LoggedReset() | LoggedState():
                    self._replay_state_change(event)

    def to_json(self) -> dict[str, Any]:
        """Return what the log has taught so far as JSON values, to the last bit."""
        return {
            "started": self._started,
            "candidates": [candidate.to_json() for candidate in self._candidates],
            "models": {name: model.to_json() for name, model in self._models.items()},
        }

    def restore(self, document: Mapping[str, Any]) -> None:
        """Restore the replay's state from what :meth:`to_json` returned."""
        self._started = bool(document["started"])
        for candidate, learned in zip(self._candidates, document["candidates"], strict=True):
            candidate.restore(learned)
        for name, model in self._models.items():
            model.restore(document["models"][name])

    def _start(self) -> None:
        """Teach the population what baselines and warm-up have taught so far as well, at the first decision."""
        if not self._started:
            self._started = True
            for candidate in self._candidates:
                candidate.refresh()

    def _encode_page(self, page: list[LoggedEvent]) -> _EncodedRows:
        """Encode all requests of a page at once: a fifth of the time of one by one."""
        requests = {
            event.seq: self._read_request(event) for event in page if isinstance(event, LoggedDecision | LoggedReward)
        }
        self.coverage.add(requests.values())
        self._eligible = {seq: each.eligible for seq, each in requests.items() if each.eligible is not None}
        return {
            name: dict(zip(requests, encode_requests(schema, list(requests.values())), strict=True))
            for name, schema in self._schemas.items()
        }

    def _read_request(self, event: LoggedDecision | LoggedReward) -> LoggedRequest:
        if isinstance(event, LoggedReward):
            known = None if event.decision_seq is None else self._pending.pop(event.decision_seq, None)
            return known or LoggedRequest.parse(self._locate(event.seq), event.body, event.pick)
        request = LoggedRequest.parse(self._locate(event.seq), event.body)
        if event.pick >= len(request.features):
            raise EvaluationError(f"{request.location}: the pick is not one of the candidates")
        if event.reward is not None and len(self._pending) < _MAX_PENDING:
            self._pending[event.seq] = request.select_candidate(event.pick)
        return request

    def _replay_decision(
        self, decision: LoggedDecision, rows: _EncodedRows, answers: Sequence["_CandidateDecisions"]
    ) -> None:
        self.summary.add(decision)
        self._start()
        possible = decision.probabilities > 0
        support_known, always = bool(possible.size), bool(possible.all())
        pick, eligible = decision.pick, self._eligible.get(decision.seq)
        modelled = {name: model.predict_rewards(rows[name][decision.seq]) for name, model in self._models.items()}
        for candidate, answer in zip(self._candidates, answers, strict=True):
            schema = candidate.policy.schema.name
            x = rows[schema][decision.seq]
            offered = x if eligible is None else x[eligible]
            distribution = candidate.distribution(decision.uid, offered, decision.seed, decision.ts)
            probability = spread(distribution.probability, eligible, len(x))
            answer.chosen.append(probability[pick])
            if support_known:
                answer.supported.append(1.0 if always else probability[possible].sum())
            if modelled:
                rewards = modelled[schema]
                answer.model.append((rewards[pick], probability.dot(rewards)))
            if decision.means.size:
                answer.means.append((decision.means[pick], probability.dot(decision.means)))

    def _replay_reward(self, reward: LoggedReward, rows: _EncodedRows) -> None:
        for name, model in self._models.items():
            model.learn(rows[name][reward.seq][0], reward.value)
        if self._is_teaching(reward):
            for candidate in self._candidates:
                x = rows[candidate.policy.schema.name][reward.seq][0]
                candidate.learn(reward.uid, x, reward.value, reward.weight, reward.ts)

    def _replay_state_change(self, event: LoggedReset | LoggedState) -> None:
        if not self._is_teaching(event):
            return
        for candidate in self._candidates:
            if isinstance(event, LoggedReset):
                candidate.remove_user(event.uid)
            else:
                candidate.import_profile(event.uid, event.profile)

    def _is_teaching(self, event: LoggedEvent) -> bool:
        if self._frozen_since is None:
            return True
        is_baseline = isinstance(event, LoggedState) and not event.seq
        return is_baseline or event.ts < self._frozen_since


class _CandidateDecisions:
    """What one candidate would have done with the decisions of a page."""

    def __init__(self) -> None:
        self.chosen: list[float] = []
        self.supported: list[float] = []
        self.model: list[tuple[float, float]] = []
        self.means: list[tuple[float, float]] = []

    def to_chunk(
        self, reward: FloatArray, propensity: FloatArray, ts: FloatArray, locate: Callable[[int], str]
    ) -> Chunk:
        return Chunk(
            reward=reward,
            propensity=propensity,
            target=np.minimum(np.array(self.chosen), 1.0),  # a sum of shares may round to a little more
            model=np.array(self.model).T if self.model else None,
            supported=np.array(self.supported) if len(self.supported) == len(self.chosen) else None,
            means=np.array(self.means).T if self.means and len(self.means) == len(self.chosen) else None,
            ts=ts,
            locate=locate,
        )
