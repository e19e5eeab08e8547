"""Vowpal Wabbit behind FastAPI, one model for everybody. It logs nothing, syncs nothing and lets everybody in."""

from fastapi import FastAPI
from models import Candidate, RewardRequest, ScoreRequest, ScoreResponse
from vowpalwabbit import Workspace  # type: ignore[import-not-found]  # in an environment of its own

app = FastAPI()
model = Workspace("--cb_explore_adf --epsilon 0.1 -q CA --quiet")


def _to_line(candidate: Candidate) -> str:
    given = candidate.features
    return f"|A age:{given.task_age_days / 30} priority:{(given.priority - 1) / 3} overdue:{int(given.is_overdue)}"


@app.post("/score")
async def score(request: ScoreRequest) -> ScoreResponse:
    """Predict, and answer with the likeliest candidate."""
    context = f"shared |C hour={request.context.hour_of_day} day={request.context.day_of_week}"
    probabilities = model.predict("\n".join([context, *map(_to_line, request.candidates)]))
    best = max(range(len(probabilities)), key=probabilities.__getitem__)
    return ScoreResponse(tip_id=request.candidates[best].id, score=probabilities[best], policy="vw")


@app.post("/reward")
async def reward(request: RewardRequest) -> dict[str, bool]:
    """Learn one labelled example."""
    candidate = Candidate(id=request.tip_id, content="", source="", features=request.features)
    context = f"shared |C hour={request.features.hour_of_day} day={request.day_of_week}"
    model.learn(f"{context}\n0:{-request.reward}:0.5 {_to_line(candidate)}\n")
    return {"ok": True}
