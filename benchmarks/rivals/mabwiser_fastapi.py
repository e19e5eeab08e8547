"""MABWiser's LinUCB behind FastAPI, one model for everybody. It logs and syncs nothing and lets everybody in."""

import math

import numpy as np
from fastapi import FastAPI
from mabwiser.mab import MAB, LearningPolicy  # type: ignore[import-not-found]  # in an environment of its own
from models import Features, RewardRequest, ScoreRequest, ScoreResponse

app = FastAPI()
_ARMS = [f"tip-{i}" for i in range(10)]
model = MAB(_ARMS, LearningPolicy.LinUCB(alpha=1.0))
model.fit(_ARMS, [0.0] * len(_ARMS), np.zeros((len(_ARMS), 7)))


def _to_row(features: Features, hour: int, day: int) -> list[float]:
    hour_angle, day_angle = 2 * math.pi * hour / 24, 2 * math.pi * day / 7
    return [
        math.sin(hour_angle),
        math.cos(hour_angle),
        float(features.is_overdue),
        min(features.task_age_days, 30) / 30,
        (features.priority - 1) / 3,
        math.sin(day_angle),
        math.cos(day_angle),
    ]


@app.post("/score")
async def score(request: ScoreRequest) -> ScoreResponse:
    """Predict from the context and the first candidate: its arms have no features of their own."""
    context = request.context
    row = _to_row(request.candidates[0].features, context.hour_of_day, context.day_of_week)
    return ScoreResponse(tip_id=model.predict([row]), score=0.0, policy="mabwiser")


@app.post("/reward")
async def reward(request: RewardRequest) -> dict[str, bool]:
    """Learn one reward."""
    row = _to_row(request.features, request.features.hour_of_day, request.day_of_week)
    model.partial_fit([request.tip_id], [request.reward], [row])
    return {"ok": True}
