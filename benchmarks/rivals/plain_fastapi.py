"""A plain FastAPI route with the contract's pydantic model and a constant answer: the framework alone."""

from fastapi import FastAPI
from models import ScoreRequest, ScoreResponse

app = FastAPI()


@app.post("/score")
async def score(request: ScoreRequest) -> ScoreResponse:
    """Answer with the first candidate."""
    return ScoreResponse(tip_id=request.candidates[0].id, score=1.25, policy="linucb-v2")
