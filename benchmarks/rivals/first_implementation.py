"""A small rewrite of the contract's first implementation, faults included.

One JSON file a user, read and written whole by each request; the inverse computed per request; scoring rewrites the
state; sync handlers in the thread pool.
"""

import json
import math
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import FastAPI
from models import Features, RewardRequest, ScoreRequest, ScoreResponse

app = FastAPI()
_STATE = Path(os.environ["STATE_DIR"])
_HISTORY = 100


def _load(user_id: str) -> dict[str, Any]:
    path = _STATE / f"{user_id}.json"
    if path.exists():
        loaded: dict[str, Any] = json.loads(path.read_text())
        return loaded
    return {"A": np.eye(5).tolist(), "b": [0.0] * 5, "meta": {"pulls": 0, "rewards": 0}, "history": []}


def _save(user_id: str, state: dict[str, Any]) -> None:
    (_STATE / f"{user_id}.json").write_text(json.dumps(state))


def _encode(features: Features, hour: int) -> np.ndarray[Any, Any]:
    angle = 2 * math.pi * hour / 24
    age = min(features.task_age_days, 30) / 30
    return np.array([math.sin(angle), math.cos(angle), float(features.is_overdue), age, (features.priority - 1) / 3])


@app.post("/score")
def score(request: ScoreRequest) -> ScoreResponse:
    """Pick by the upper confidence bound."""
    state = _load(request.user_id)
    inverse = np.linalg.inv(np.array(state["A"]))
    theta = inverse @ np.array(state["b"])
    best, best_score = request.candidates[0], -math.inf
    for candidate in request.candidates:
        x = _encode(candidate.features, request.context.hour_of_day)
        value = float(theta @ x + math.sqrt(x @ inverse @ x))
        if value > best_score:
            best, best_score = candidate, value
    state["meta"]["pulls"] += 1
    entry = {"ts": time.time(), "features": best.features.model_dump(), "score": best_score, "tip_id": best.id}
    state["history"] = [*state["history"], entry][-_HISTORY:]
    _save(request.user_id, state)
    return ScoreResponse(tip_id=best.id, score=best_score, policy="linucb-v1")


@app.post("/reward")
def reward(request: RewardRequest) -> dict[str, bool]:
    """Teach."""
    state = _load(request.user_id)
    x = _encode(request.features, request.features.hour_of_day)
    state["A"] = (np.array(state["A"]) + np.outer(x, x)).tolist()
    state["b"] = (np.array(state["b"]) + request.reward * x).tolist()
    state["meta"]["rewards"] += 1
    _save(request.user_id, state)
    return {"ok": True}
