"""What a run is to play: the world, the policies, the judge. A value that is stored with the run and read back."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, Self, get_args

from bandstand.errors import FieldError, InvalidRequestError
from bandstand.judge.gate import TAU, GateMode
from bandstand.simulate.errors import make_invalid_request
from bandstand.simulate.limits import MAX_USERS
from bandstand.simulate.world.chat import load_taxonomy
from bandstand.simulate.world.persona import Persona, build_personas, expand_personas, make_personas
from bandstand.simulate.world.reaction import ACTIONS
from bandstand.simulate.world.world import World

JudgeKind = Literal["rule", "llm", "command"]
ChatTier = Literal["rules", "local", "llm", "auto"]
Events = Literal["none", "sample", "all"]

_JUDGES = ("rule", "llm", "command")
_EVENTS = ("none", "sample", "all")
_TIERS: tuple[ChatTier, ...] = get_args(ChatTier)
_GATES: tuple[GateMode, ...] = get_args(GateMode)
_BY_TRUTH = " by truth"


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgePlan:
    """Who decides reactions.

    Args:
        kind: ``rule``, ``llm`` or ``command``.
        model: of ``llm``; None for the contract's.
        url: of ``llm``: where an OpenAI-compatible gateway is; None for Anthropic.
        command: of ``command``: the program and its arguments.
        deadline_s: the longest one decision may take; None for the judge's own.
        prompt: of ``llm`` and ``command``, the SHA-256 of the prompt they were asked with when the run was begun.
    """

    kind: JudgeKind = "rule"
    model: str | None = None
    url: str | None = None
    command: tuple[str, ...] = ()
    deadline_s: float | None = None
    prompt: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatPlan:
    """Who reads what users say, where they talk.

    Args:
        tier: ``rules``, ``local``, ``llm`` or ``auto``.
        gate: ``hard`` or ``soft``.
        tau: the threshold of the hard gate.
        judge: who exactly, when the run was begun; None if the service judges.
    """

    tier: ChatTier = "local"
    gate: GateMode = "hard"
    tau: float = TAU
    judge: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that the outcome of a run depends on.

    Args:
        policies: who plays, side by side on common random numbers; at least one, all different.
        world: a persona set by name, or the personas themselves.
        personas: how many users there are; the set starts over when it runs out.
        days: length of each user's run.
        decisions_per_day: how often each user is asked a day.
        candidates: K.
        seeds: how many worlds are played.
        first_seed: the seed of the first; the others follow it.
        day_of_week: hold the day of the week at this one.
        reflex_rate: share of ``done`` that are reflexes, see :func:`bandstand.simulate.world.reaction.to_reaction`.
        judge: who decides reactions.
        chat: where users say something instead of acting, who reads it; each policy plays twice then, once taught by
            that judge and once by the truth.
        events: whose single decisions are kept: nobody's, those of the first seed, or all.
        url: the running service to play against; None plays in this process.
        users: against a service, what its users' ids begin with.
        definitions: in this process, the hash of each policy's definition when the run was begun.

    Raises:
        InvalidRequestError: names every field that is wrong.
    """

    policies: tuple[str, ...]
    world: str | tuple[Persona, ...] = "shipped"
    personas: int = 14
    days: int = 30
    decisions_per_day: int = 4
    candidates: int = 5
    seeds: int = 1
    first_seed: int = 0
    day_of_week: int | None = None
    reflex_rate: float = 0.0
    judge: JudgePlan = field(default_factory=JudgePlan)
    chat: ChatPlan | None = None
    events: Events = "sample"
    url: str | None = None
    users: str = "simulated"
    definitions: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what cannot be played."""
        judge, chat = self.judge, self.chat
        by_rule = judge.kind == "rule"
        checks = (
            (
                "policies",
                "must name at least one policy, and none twice",
                0 < len(self.policies) == len({*self.policies}),
            ),
            ("personas", f"must be 1 to {MAX_USERS}", 1 <= self.personas <= MAX_USERS),
            ("seeds", "must be 1 or more", self.seeds >= 1),
            ("first_seed", "must be 0 or more", self.first_seed >= 0),
            ("events", f"must be one of {', '.join(_EVENTS)}", self.events in _EVENTS),
            ("judge", f"must be one of {', '.join(_JUDGES)}", judge.kind in _JUDGES),
            (
                "judge.command",
                "goes with the judge command, which needs it",
                bool(judge.command) == (judge.kind == "command"),
            ),
            ("judge.model", "goes with the judge llm", judge.model is None or judge.kind == "llm"),
            ("judge.url", "goes with the judge llm, and needs a model", judge.url is None or bool(judge.model)),
            ("judge.deadline_s", "must be above 0", judge.deadline_s is None or judge.deadline_s > 0),
            ("chat", "goes with the judge rule: what users say is decided by the world", chat is None or by_rule),
            ("chat", "plays in this process: leave the URL out", chat is None or self.url is None),
            ("chat.tier", f"must be one of {', '.join(_TIERS)}", chat is None or chat.tier in _TIERS),
            ("chat.gate", "must be hard or soft", chat is None or chat.gate in _GATES),
            ("chat.tau", "must be 0 to 1", chat is None or 0 <= chat.tau <= 1),
        )
        errors = [FieldError(name, message) for name, message, holds in checks if not holds]
        if errors:
            raise make_invalid_request("The simulation", errors)
        self.build_world(self.first_seed)  # raises what is wrong with the rest

    @property
    def decisions_per_user(self) -> int:
        """Decisions of one user with one policy, n."""
        return self.days * self.decisions_per_day

    @property
    def total(self) -> int:
        """Decisions of the whole run."""
        return self.decisions_per_user * self.personas * self.seeds * len(self.contestants)

    @property
    def contestants(self) -> tuple[str, ...]:
        """Who plays: the policies, and in conversations each once more, taught by the truth."""
        return self.policies if self.chat is None else (*self.policies, *map(to_truth_name, self.policies))

    @property
    def action_names(self) -> tuple[str, ...]:
        """What users may do, or mean to say."""
        return tuple(reversed(ACTIONS)) if self.chat is None else load_taxonomy().label_names

    def seed_range(self) -> range:
        """The seeds, in order."""
        return range(self.first_seed, self.first_seed + self.seeds)

    def build_world(self, seed: int) -> World:
        """The world of one seed, in which every policy plays."""
        if isinstance(self.world, str):
            personas = make_personas(self.world, self.personas, seed)
        else:
            personas = expand_personas(self.world, self.personas)
        return World(
            personas=personas,
            seed=seed,
            days=self.days,
            decisions_per_day=self.decisions_per_day,
            candidates=self.candidates,
            day_of_week=self.day_of_week,
            reflex_rate=self.reflex_rate,
            conversations=self.chat is not None,
        )

    def should_keep_events(self, seed: int) -> bool:
        """Whether the single decisions of a seed are kept."""
        return self.events == "all" or (self.events == "sample" and seed == self.first_seed)

    def with_definitions(self, definitions: Mapping[str, str]) -> Self:
        """The same plan with its policies' definitions noted."""
        return replace(self, definitions={name: definitions[name] for name in self.policies})

    def to_json(self) -> str:
        """Write it down."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read :meth:`to_json` back.

        Raises:
            InvalidRequestError: it is no plan.
        """
        return cls.from_document(json.loads(text))

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Make a plan of JSON values; ``world`` may be a list of personas, or ``{"personas": […]}``.

        Raises:
            InvalidRequestError: names every field that is wrong.
        """
        known = {each.name for each in fields(cls)}
        if unknown := sorted(set(document) - known):
            raise InvalidRequestError(f"A simulation has no {', '.join(unknown)}.")
        values = dict(document)
        world = values.get("world", "shipped")
        if not isinstance(world, str):
            values["world"] = build_personas({"personas": world} if isinstance(world, list) else world)
        judge = values.get("judge", {})
        values["judge"] = JudgePlan(**{**judge, "command": tuple(judge.get("command", ()))})
        if values.get("chat") is not None:
            values["chat"] = ChatPlan(**values["chat"])
        return cls(**{**values, "policies": tuple(values["policies"])})


def to_truth_name(policy: str) -> str:
    """Name the contestant that is a policy taught by the truth."""
    return f"{policy}{_BY_TRUTH}"


def parse_contestant(contestant: str) -> tuple[str, bool]:
    """Parse a contestant into its policy, and whether the truth teaches it."""
    policy = contestant.removesuffix(_BY_TRUTH)
    return policy, policy != contestant
