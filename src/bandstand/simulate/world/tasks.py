"""What users are offered: seeded candidates and contexts with the contract's features, in arrays and on the wire."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from bandstand.bandit.arrays import FloatArray
from bandstand.bandit.features import FeatureSchema

_WAKING_HOURS = range(6, 23)
_OVERDUE_SHARE = 0.4
_MEAN_AGE_DAYS = 5.0
_MEAN_AGE_OVERDUE_DAYS = 12.0
_DRAWS_PER_TASK = 3

_TITLES = (
    "Answer the landlord's letter",
    "Book the dentist",
    "Call the insurance about the claim",
    "Check the tyres before the trip",
    "Clean the kitchen drawer",
    "Compare offers for the new phone",
    "Draft the quarterly report",
    "Finish the slides for Thursday",
    "Fix the dripping tap",
    "Go through last month's receipts",
    "Invite the neighbours for dinner",
    "Order flowers for the anniversary",
    "Outline the next chapter",
    "Pay the electricity bill",
    "Plan the team's offsite",
    "Prepare the interview questions",
    "Read the contract once more",
    "Renew the passport",
    "Reply to the client's questions",
    "Review the pull request",
    "Send the invoice",
    "Sort the photos from the summer",
    "Take back the library books",
    "Write the thank-you note",
)


class TaskContext(TypedDict):
    """The contract's request context."""

    hour_of_day: int
    day_of_week: int


class TaskFeatures(TypedDict):
    """The contract's features of a candidate; the hour is the context's, which is where scoring reads it."""

    hour_of_day: int
    is_overdue: bool
    task_age_days: float
    priority: int


class TaskCandidate(TypedDict):
    """The contract's candidate."""

    id: str
    content: str
    source: str
    source_id: str | None
    features: TaskFeatures


@dataclass(frozen=True, slots=True)
class Slates:
    """The candidates and contexts of one user's n decisions, K candidates each.

    ``hour_of_day`` (6–22) and ``day_of_week`` (0 = Monday) are (n,); the rest (n, K).
    """

    hour_of_day: NDArray[np.int64]
    day_of_week: NDArray[np.int64]
    priority: NDArray[np.int64]
    is_overdue: NDArray[np.bool_]
    task_age_days: NDArray[np.float64]
    title: NDArray[np.int64]

    def get_context(self, step: int) -> TaskContext:
        """Give the context of one decision as a request has it."""
        return {"hour_of_day": self.hour_of_day[step].item(), "day_of_week": self.day_of_week[step].item()}

    def encode(self, schema: FeatureSchema) -> FloatArray:
        """Encode all n decisions as a policy with this schema sees them: x of shape (n, K, d)."""
        count = self.priority.shape[1]
        context = {"hour_of_day": self.hour_of_day.tolist(), "day_of_week": self.day_of_week.tolist()}
        features: Mapping[str, Sequence[object]] = {
            "is_overdue": self.is_overdue.ravel().tolist(),
            "task_age_days": self.task_age_days.ravel().tolist(),
            "priority": self.priority.ravel().tolist(),
        }
        return schema.encode_columns(context, features, (len(self.hour_of_day), count))

    @staticmethod
    def get_candidate_id(step: int, position: int) -> str:
        """Give the id of a candidate, which no other of the user's candidates has."""
        return f"task-{step}-{position}"

    def get_candidates(self, step: int) -> list[TaskCandidate]:
        """Give the candidates of one decision as a request has them; ids differ over all of the user's decisions."""
        hour = self.hour_of_day[step].item()
        rows = zip(
            self.is_overdue[step].tolist(),
            self.task_age_days[step].tolist(),
            self.priority[step].tolist(),
            self.title[step].tolist(),
            strict=True,
        )
        return [
            {
                "id": self.get_candidate_id(step, position),
                "content": _TITLES[title],
                "source": "task",
                "source_id": f"{step}-{position}",
                "features": {"hour_of_day": hour, "is_overdue": overdue, "task_age_days": age, "priority": priority},
            }
            for position, (overdue, age, priority, title) in enumerate(rows)
        ]


def draw_slates(
    generator: np.random.Generator,
    *,
    days: int,
    decisions_per_day: int,
    candidates: int,
    day_of_week: int | None = None,
) -> Slates:
    """Draw what one user is offered over ``days`` days, the first of them a Monday.

    Hours are uniform over 6–22 h and ascend within a day; priorities uniform over 1–4; 40 % are overdue; ages are
    exponential with mean 5 days, 12 if overdue, in tenths of a day. More days begin with the same ones.

    Args:
        generator: the stream to draw from; nothing else may draw from it.
        days: ≥ 1.
        decisions_per_day: ≥ 1.
        candidates: K ≥ 1.
        day_of_week: hold the day at this one instead of letting it advance.
    """
    # One block, a day a row, so that later days never move the draws of earlier ones.
    block = generator.random((days, decisions_per_day, 2 + _DRAWS_PER_TASK * candidates))
    hour = _WAKING_HOURS.start + np.sort((block[:, :, 0] * len(_WAKING_HOURS)).astype(np.int64), axis=1)
    weekday = np.arange(days) % 7 if day_of_week is None else np.full(days, day_of_week)
    steps = block.reshape(days * decisions_per_day, -1)
    priority, overdue, age = steps[:, 2:].reshape(len(steps), _DRAWS_PER_TASK, candidates).transpose(1, 0, 2)
    is_overdue = overdue < _OVERDUE_SHARE
    mean_age = np.where(is_overdue, _MEAN_AGE_OVERDUE_DAYS, _MEAN_AGE_DAYS)
    first_title = (steps[:, 1] * len(_TITLES)).astype(np.int64)
    return Slates(
        hour_of_day=hour.reshape(-1),
        day_of_week=np.repeat(weekday, decisions_per_day),
        priority=1 + (priority * 4).astype(np.int64),
        is_overdue=is_overdue,
        task_age_days=np.round(-mean_age * np.log1p(-age), 1),
        title=(first_title[:, None] + np.arange(candidates)) % len(_TITLES),
    )
