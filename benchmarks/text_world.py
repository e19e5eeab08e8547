"""What the text of candidates is worth where only the text tells: users who differ in the tone and length they like.

    python benchmarks/text_world.py [--seeds 8]

50 past users, then 14 new ones, make 60 decisions among 5 messages each, written from templates: one of four tones, one
of three lengths, one of twelve topics. A reward is the user's taste for the tone and the length, and noise of twice the
deviation of tastes. `explicit` is told tone and length (one-hot, and the number of sentences); `text` reads the
content, with `encoding = "text"`, and nothing else. Both are `linucb` with alpha 0.5, a floor of 2 % and everything
else as it comes. The gap closed is (policy - random)/(oracle - random) by the exact expected reward; ± is one standard
error over seeds.
"""

import argparse
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from persona_world import ratio

from bandstand.bandit.choice import choose
from bandstand.bandit.features import FeatureSchema
from bandstand.bandit.policies import LinUCB, Policy
from bandstand.bandit.profile import Profile
from bandstand.simulate.run.population import SimulatedPopulation

Rewards = NDArray[np.float64]

PAST, NEW, DECISIONS, CANDIDATES = 50, 14, 60, 5
TONES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "warm": (
        ("Hi there, hope your day is going well!", "Hey friend, lovely to see you."),
        ("You have got this.", "Take all the time you need.", "So proud of how far you have come!", "Be kind to you."),
    ),
    "terse": (
        ("Next:", "Now:"),
        ("Done by noon.", "No excuses.", "Five minutes.", "Start.", "Then stop."),
    ),
    "formal": (
        ("We would like to remind you of the following matter.", "Please be advised of an item that awaits you."),
        (
            "Your attention is appreciated.",
            "Kindly confirm at your earliest convenience.",
            "We remain at your disposal.",
        ),
    ),
    "playful": (
        ("Guess what time it is 🎉", "Plot twist!! 😄"),
        (
            "Bonus points if you dance while at it 🕺",
            "Confetti awaits 🎊",
            "Easy-peasy, lemon squeezy!",
            "Ready, steady… 🚀",
        ),
    ),
}
TOPICS = (
    "pay the rent",
    "ring your mother",
    "book the dentist",
    "water the plants",
    "send the invoice",
    "renew the passport",
    "answer the landlord",
    "tidy the desk",
    "plan the trip",
    "read the contract",
    "fix the tap",
    "sort the photos",
)
LENGTHS = (0, 2, 5)
"""Sentences beside the two that every message has."""

SCHEMAS = {
    "explicit": (
        {"name": "tone", "source": "candidate.tone", "encoding": "onehot", "values": [*TONES]},
        {"name": "sentences", "source": "candidate.sentences", "encoding": "number"},
    ),
    "text": ({"name": "content", "source": "candidate.content", "encoding": "text"},),
}


def write_message(rng: np.random.Generator) -> dict[str, Any]:
    """Write one candidate, and say of it what `text` is not told."""
    tone, extra = str(rng.choice([*TONES])), int(rng.choice(LENGTHS))
    openers, phrases = TONES[tone]
    said = [str(rng.choice(openers)), f"{rng.choice(TOPICS)}.".capitalize()]
    said += [str(phrase) for phrase in rng.choice(phrases, extra)]
    return {"content": " ".join(said), "features": {"tone": tone, "sentences": extra}}


def draw_tastes(rng: np.random.Generator, users: int) -> tuple[Rewards, Rewards]:
    """Return what each user makes of each tone, (users, 4), and of a sentence more, (users,)."""
    return 0.25 * rng.normal(size=(users, len(TONES))), 0.08 * rng.normal(size=users)


def build_policy(name: str) -> Policy:
    """Return a policy over the schema of that name."""
    schema = FeatureSchema.parse(name, {"version": 1, "intercept": True, "features": list(SCHEMAS[name])})
    return LinUCB(name, schema, {"alpha": 0.5, "floor": 0.02})


def play(policies: Mapping[str, Policy], seed: int) -> dict[str, float]:
    """Return what new users get on average of each policy, of a random pick and of the best one."""
    rng = np.random.default_rng(seed)
    tones, lengths = draw_tastes(rng, PAST + NEW)
    slates = [[[write_message(rng) for _ in range(CANDIDATES)] for _ in range(DECISIONS)] for _ in range(PAST + NEW)]
    value = np.array(
        [
            [
                [
                    0.1
                    + tones[user, [*TONES].index(each["features"]["tone"])]
                    + lengths[user] * each["features"]["sentences"]
                    for each in slate
                ]
                for slate in slates[user]
            ]
            for user in range(PAST + NEW)
        ]
    )
    noise, draws = 0.5 * rng.normal(size=value.shape[:2]), rng.random(value.shape[:2])
    earned = {"random": float(value[PAST:].mean()), "oracle": float(value[PAST:].max(axis=2).mean())}
    for name, policy in policies.items():
        population, key, total = SimulatedPopulation(policy), (policy.name, policy.schema.name), 0.0
        for cohort in (range(PAST), range(PAST, PAST + NEW)):
            profiles = {user: Profile(str(user)) for user in cohort}
            for step in range(DECISIONS):
                for user, profile in profiles.items():
                    x = policy.schema.encode({}, policy.schema.read_candidates(slates[user][step]))
                    prior = population.get_prior(profile.user_id)
                    pick = choose(policy, profile, x, float(draws[user, step]), prior=prior).pick
                    reward = float(value[user, step, pick] + noise[user, step])
                    profile.apply_reward(step + 1, key, 0.0, x[pick], reward, 1.0)
                    population.update(profile.user_id, profile.policies[key].ridge)
                    total += float(value[user, step, pick]) if user >= PAST else 0.0
                population.refresh()
        earned[name] = total / (NEW * DECISIONS)
    return earned


def main() -> None:
    """Print the share of the gap that each closes, and how much of the one the other reaches."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=8, help="at least 2")
    seeds = parser.parse_args().seeds
    policies = {name: build_policy(name) for name in SCHEMAS}
    played = [play(policies, seed) for seed in range(seeds)]
    rows = {name: np.array([each[name] for each in played]) for name in ("random", "oracle", *policies)}
    print("| reads | mean reward | gap closed |\n|---|---|---|")
    for name, row in rows.items():
        share, error = ratio(row - rows["random"], rows["oracle"] - rows["random"])
        print(f"| {name} | {row.mean():.4f} | {share:.1%} ± {error:.1%} |")
    share, error = ratio(rows["text"] - rows["random"], rows["explicit"] - rows["random"])
    print(f"\ntext reaches {share:.1%} ± {error:.1%} of what explicit features do")


if __name__ == "__main__":
    main()
