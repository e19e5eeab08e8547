"""What the laws of a loop with one model for everybody are given, over either engine."""

import numpy as np

from bandstand.bandit.loop_definition import EVERYBODY, LoopDefinition
from bandstand.bandit.profile import Profile
from tests.service.given import Service

ONE_MODEL = LoopDefinition(name="menu", scope="loop")


async def teach(service: Service, user_id: str, number: int) -> str:
    """One decision, which no draw changes, and its reward."""
    features = {"priority": number % 4 + 1, "task_age_days": float(number), "is_overdue": number % 2 == 0}
    request = service.request(user_id) | {
        "candidates": [{"id": "tip", "content": "…", "source": "tests", "features": features}],
        "context": {"hour_of_day": number % 24},
        "decision_id": f"{user_id}-{number}",
    }
    service.clock.now += 1
    await service.score(request)
    if number % 5:
        await service.reward({"user_id": user_id, "decision_id": request["decision_id"], "reward": number / 100})
    return str(request["decision_id"])


async def load_model(service: Service) -> Profile:
    return await service.deployment.store.load_profile(EVERYBODY)


def require_equal(model: Profile, other: Profile) -> None:
    assert model.policies.keys() == other.policies.keys()
    for key, state in model.policies.items():
        expected = other.policies[key]
        assert (state.pulls, state.reward_count) == (expected.pulls, expected.reward_count), key  # draws are their own
        assert state.ridge is not None
        assert expected.ridge is not None
        for name in ("gram", "b", "rr"):
            np.testing.assert_allclose(getattr(state.ridge, name), getattr(expected.ridge, name), atol=1e-9)
