"""The persona world: every user's whole run, drawn before any policy decides, with the true mean of every choice.

All policies meet the same tasks, and a (user, step, candidate) gets the same reaction whichever policy picked it
(*common random numbers*), so that a difference between two policies is never luck of the draw.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bandstand.errors import FieldError
from bandstand.judge.turn import Turn
from bandstand.simulate.errors import make_invalid_request
from bandstand.simulate.world import chat
from bandstand.simulate.world.chat import Conversation
from bandstand.simulate.world.persona import Persona
from bandstand.simulate.world.reaction import Reaction, compute_engagement, compute_expected_reward, to_reaction
from bandstand.simulate.world.streams import Stream, make_generator
from bandstand.simulate.world.tasks import Slates, draw_slates

_DAY_S, _HOUR_S = 86_400.0, 3_600.0


@dataclass(frozen=True, slots=True)
class Episode:
    """One user's run of n decisions among K candidates each.

    Args:
        persona: who the user is.
        slates: what they are offered.
        times: (n,), when, in seconds since the run's beginning at midnight; decisions of one hour are at one time.
        engagement: (n, K), how engaged they are with each candidate.
        expected_reward: (n, K), the exact mean reward of each candidate.
        policy_draws: (n,), uniform on [0, 1), for a policy that has no draw of its own.
        judge_draws: (n,), uniform on [0, 1), for a judge that says what the user does but not how long it takes.
        reflex_rate: share of the ``done`` that are reflexes.
        conversation: what they say instead of acting, in a world of conversations.
    """

    persona: Persona
    slates: Slates
    times: NDArray[np.float64]
    engagement: NDArray[np.float64]
    expected_reward: NDArray[np.float64]
    policy_draws: NDArray[np.float64]
    judge_draws: NDArray[np.float64]
    reflex_rate: float
    _reaction_draws: NDArray[np.float64]  # (n, K, 2): action, dwell
    conversation: Conversation | None = None

    def get_reaction(self, step: int, candidate: int) -> Reaction:
        """Give what the user does, or means to say, when this candidate is picked at this step; always the same."""
        if self.conversation is not None:
            return self.conversation.get_reaction(step, candidate)
        action_draw, dwell_draw = self._reaction_draws[step, candidate].tolist()
        return to_reaction(
            self.engagement[step, candidate].item(),
            action_draw=action_draw,
            dwell_draw=dwell_draw,
            reflex_rate=self.reflex_rate,
        )

    def get_turn(self, step: int, candidate: int) -> Turn:
        """Give what is asked, answered and said when this candidate is picked at this step.

        Raises:
            ValueError: in this world users do not talk.
        """
        if self.conversation is None:
            raise ValueError("users talk in a world of conversations only")
        return self.conversation.get_turn(step, candidate)

    @property
    def oracle_reward(self) -> NDArray[np.float64]:
        """The mean reward of the best candidate, (n,)."""
        return np.asarray(self.expected_reward.max(axis=1))

    @property
    def random_reward(self) -> NDArray[np.float64]:
        """The mean reward of a uniform pick, (n,)."""
        return np.asarray(self.expected_reward.mean(axis=1))


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """People with tasks and a seed: all that a run depends on but its policies and judges.

    Args:
        personas: one for each user, in order.
        seed: ≥ 0; everything drawn here follows from it.
        days: length of a run, ≥ 1; a longer run begins with the shorter one.
        decisions_per_day: ≥ 1.
        candidates: K, 1–1000.
        day_of_week: hold the day of the week at this one (0–6) instead of letting it advance.
        reflex_rate: in [0, 1], see `react`; not in the contract, hence 0.
        conversations: whether users say something instead of acting, see `bandstand.simulate.world.chat`.

    Raises:
        InvalidRequestError: a value is out of range.
    """

    personas: tuple[Persona, ...]
    seed: int
    days: int = 30
    decisions_per_day: int = 4
    candidates: int = 5
    day_of_week: int | None = None
    reflex_rate: float = 0.0
    conversations: bool = False

    def __post_init__(self) -> None:
        """Refuse what is out of range."""
        errors = [
            FieldError(field, f"must be {allowed}")
            for field, allowed, holds in (
                ("personas", "at least one", len(self.personas) >= 1),
                ("seed", "0 or more", self.seed >= 0),
                ("days", "1 or more", self.days >= 1),
                ("decisions_per_day", "1 or more", self.decisions_per_day >= 1),
                ("candidates", "1 to 1000", self.candidates in range(1, 1001)),
                ("day_of_week", "0 to 6", self.day_of_week in {None, *range(7)}),
                ("reflex_rate", "0 to 1", 0 <= self.reflex_rate <= 1),
            )
            if not holds
        ]
        if errors:
            raise make_invalid_request("The world", errors)

    @property
    def decisions_per_user(self) -> int:
        """The decisions in one user's run, n."""
        return self.days * self.decisions_per_day

    def build_episode(self, user: int) -> Episode:
        """Draw one user's run; it does not depend on which other users are asked for, nor in which order."""
        persona = self.personas[user]
        slates = draw_slates(
            make_generator(self.seed, Stream.TASKS, user),
            days=self.days,
            decisions_per_day=self.decisions_per_day,
            candidates=self.candidates,
            day_of_week=self.day_of_week,
        )
        engaged = compute_engagement(
            persona, hour_of_day=slates.hour_of_day[:, None], priority=slates.priority, is_overdue=slates.is_overdue
        )
        conversation = None
        if self.conversations:
            draws = make_generator(self.seed, Stream.CHAT, user).random(
                (self.decisions_per_user, self.candidates, chat.DRAWS)
            )
            conversation = Conversation(persona.language, engaged, slates, draws)
        expected = chat.compute_expected_reward(engaged) if self.conversations else None
        return Episode(
            persona=persona,
            slates=slates,
            times=np.repeat(np.arange(self.days) * _DAY_S, self.decisions_per_day) + slates.hour_of_day * _HOUR_S,
            engagement=engaged,
            expected_reward=compute_expected_reward(engaged, reflex_rate=self.reflex_rate)
            if expected is None
            else expected,
            policy_draws=make_generator(self.seed, Stream.POLICY, user).random(self.decisions_per_user),
            judge_draws=make_generator(self.seed, Stream.JUDGE, user).random(self.decisions_per_user),
            reflex_rate=self.reflex_rate,
            _reaction_draws=make_generator(self.seed, Stream.REACTIONS, user).random(
                (self.decisions_per_user, self.candidates, 2)
            ),
            conversation=conversation,
        )
