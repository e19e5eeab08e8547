"""Whether a newcomer who sends things as they have them learns as well as somebody who scales them.

    python benchmarks/newcomer.py [--seeds 10]

The schema is the README's own: a price in cents, an age in days, and a language; rewards are a margin in euros. 20
users make 60 decisions among 5 offers. Each has a taste of their own beside one that all share; a reward has a noise of
0.25. `raw` sends cents and days, `scaled by hand` moves and divides them in the schema; the others do the same from the
standard prior, which is what a policy had before beliefs took their units from the data. In thousands of euros the same
rewards are a thousandth as large. The gap closed is (policy - random)/(best - random) by the exact margin; ± one
standard error over seeds.
"""

import argparse
import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
from persona_world import ratio

from bandstand.bandit.choice import choose
from bandstand.bandit.features import FeatureSchema
from bandstand.bandit.policies import LinUCB
from bandstand.bandit.profile import Profile
from bandstand.simulate.run.population import SimulatedPopulation

USERS, DECISIONS, OFFERS = 20, 60, 5
PRICE, AGE = (9_900.0, 4_000.0), (400.0, 250.0)
"""Mean and deviation, in cents and in days."""

UNITS = {"euros": 1.0, "thousands of euros": 0.001}
_BLOCK = re.compile(r"```toml\n(.*?)```", re.DOTALL)


def read_definition() -> dict[str, Any]:
    """Return what the README shows of a deployment's own schema and policy."""
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    [found] = [text for text in _BLOCK.findall(readme) if "schemas.shop" in text]
    return tomllib.loads(found)


def build_policy(*, scaled: bool, **more: object) -> LinUCB:
    """Return the README's policy, over its schema or over one that somebody scaled."""
    definition = read_definition()
    schema, parameters = definition["schemas"]["shop"], definition["policies"]["shop"]
    if scaled:
        for feature in schema["features"]:
            spread = {"price_cents": PRICE, "age_days": AGE}.get(feature["name"])
            if spread is not None:
                feature |= {"encoding": "scale", "offset": spread[0], "divisor": spread[1]}
    own = {key: value for key, value in parameters.items() if key not in {"kind", "schema"}}
    return LinUCB("shop", FeatureSchema.parse("shop", schema), {**own, **more})


def play(policy: LinUCB, seed: int, unit: float) -> tuple[float, float, float]:
    """Return the mean margin of the policy, of a random pick and of the best one."""
    rng = np.random.default_rng(seed)
    common, own = 0.1 * rng.normal(size=3), 0.05 * rng.normal(size=(USERS, 3))
    z = rng.normal(size=(DECISIONS, USERS, OFFERS, 2))
    english = rng.random((DECISIONS, USERS, OFFERS)) < 0.5  # noqa: PLR2004 (a half)
    facts = np.concatenate([z, english[..., None] - 0.5], axis=-1)
    value = 0.2 + np.einsum("dukf,uf->duk", facts, common + own)
    noise, draws = 0.25 * rng.normal(size=(DECISIONS, USERS)), rng.random((DECISIONS, USERS))
    population = SimulatedPopulation(policy) if policy.learns_prior else None
    profiles, key, earned = [Profile(str(user)) for user in range(USERS)], ("shop", "shop"), 0.0
    for step in range(DECISIONS):
        for user, profile in enumerate(profiles):
            offers = [
                {
                    "price_cents": max(0, round(PRICE[0] + PRICE[1] * price)),
                    "age_days": AGE[0] + AGE[1] * age,
                    "language": "en" if is_english else "de",
                }
                for (price, age), is_english in zip(z[step, user].tolist(), english[step, user], strict=True)
            ]
            x = policy.schema.encode({}, offers)
            prior = None if population is None else population.get_prior(profile.user_id)
            pick = choose(policy, profile, x, float(draws[step, user]), prior=prior).pick
            reward = unit * float(np.clip(value[step, user, pick] + noise[step, user], -1.0, 1.0))
            profile.apply_reward(step + 1, key, 0.0, x[pick], reward, 1.0)
            earned += float(value[step, user, pick])
            if population is not None:
                population.update(profile.user_id, profile.policies[key].ridge)
        if population is not None:
            population.refresh()
    return earned / value[..., 0].size, float(value.mean()), float(value.max(axis=2).mean())


def main() -> None:
    """Print a row for each way to write it down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10, help="at least 2")
    seeds = parser.parse_args().seeds
    print(f"| gap closed, rewards in | {' | '.join(UNITS)} |\n|---|{'---|' * len(UNITS)}")
    for title, policy in {
        "raw, as the README has it": build_policy(scaled=False),
        "scaled by hand": build_policy(scaled=True),
        "raw, standard prior": build_policy(scaled=False, prior="standard"),
        "scaled by hand, standard prior": build_policy(scaled=True, prior="standard"),
    }.items():
        cells = []
        for unit in UNITS.values():
            ours, random, best = np.array([play(policy, seed, unit) for seed in range(seeds)]).T
            share, error = ratio(ours - random, best - random)
            cells.append(f"{share:.1%} ± {error:.1%}")
        print(f"| {title} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
