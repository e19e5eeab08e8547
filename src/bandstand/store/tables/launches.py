"""Launches in the ledger: a policy that is given a growing share of the users, each step an event with its figures."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from bandstand.bandit.experiment import Arm, Experiment
from bandstand.store.tables.event_rows import INSERT_ONE_MARK, MarkInsert

LaunchAction = Literal["start", "advance", "hold", "resume", "rollback", "cancel", "finish"]
LaunchState = Literal["running", "held", "rolled_back", "cancelled", "finished"]

_STEP, _NOTE = "launch", "launch-note"
_LAUNCHES = """SELECT seq, ts, client, document FROM marks
    WHERE uid IS NULL AND kind IN ('launch', 'launch-note') ORDER BY seq"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchPlan:
    """What an operator wants.

    Attributes:
        policy: that is launched.
        control: the active policy, which keeps the other users.
        steps: its shares of the users in percent, growing, the last 100.
        min_decisions: with a reward, that it needs at a step before the next.
        guardrails: by metric, a mean a decision below which it must not fall.
        margin: by how much, as a share of the control's mean reward, it may be worse and still get over a fifth of the
            users: it must be sure that it is not.
    """

    policy: str
    control: str
    steps: tuple[float, ...]
    min_decisions: int
    guardrails: Mapping[str, float] = field(default_factory=dict)
    margin: float = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchEvent:
    """One thing that happened to a launch.

    Attributes:
        seq: its number; 0 before it is logged.
        ts: seconds since the epoch.
        client: name of the API key; ``launch`` where the ladder did it by itself.
        state: of the launch from then on.
        step: index into the plan's steps.
        since: number of the event that began the step; its own where it did.
        reason: why, in words.
        figures: what it rests on.
    """

    seq: int
    ts: float
    client: str
    action: LaunchAction
    state: LaunchState
    step: int
    since: int
    reason: str
    plan: LaunchPlan
    figures: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_serving(self) -> bool:
        """Whether the policy has a share of the users."""
        return self.state in {"running", "held"}

    @property
    def share(self) -> float:
        """The policy's share of the users, in percent."""
        return self.plan.steps[self.step] if self.is_serving else 100.0 if self.state == "finished" else 0.0

    def build_experiment(self) -> Experiment:
        """The split of this step: a larger share takes users from the control, and none from the policy."""
        share, plan = self.plan.steps[self.step], self.plan
        return Experiment(f"launch:{plan.policy}", (Arm(plan.control, 100.0 - share), Arm(plan.policy, share)))


def number_event(event: LaunchEvent, seq: int) -> LaunchEvent:
    """The event with its number; one that begins a step, and so has none to refer to, begins it with that."""
    return replace(event, seq=seq, since=event.since or seq)


def log_launch(connection: sqlite3.Connection, *, event: LaunchEvent) -> None:
    """Write an event down; one that begins a step, or ends the launch, begins or ends a split."""
    connection.execute(INSERT_ONE_MARK, build_launch_row(event))


def build_launch_row(event: LaunchEvent) -> MarkInsert:
    """An event as its mark."""
    begins = event.is_serving and event.since == event.seq
    split = json.loads(event.build_experiment().to_canonical_json()) if begins else {"name": "", "arms": None}
    known = {name: value for name, value in asdict(event).items() if name not in {"seq", "ts", "client"}}
    kind = _STEP if begins or not event.is_serving else _NOTE
    return MarkInsert(event.seq, None, kind, event.ts, event.client, json.dumps({**split, **known}))


def list_launches(connection: sqlite3.Connection) -> Sequence[LaunchEvent]:
    """Every event of every launch, the oldest first."""
    return [parse_launch(*row) for row in connection.execute(_LAUNCHES)]


def parse_launch(seq: int, ts: float, client: str, document: str) -> LaunchEvent:
    """The event of a mark."""
    entry = json.loads(document)
    plan = entry["plan"]
    known = {name: entry[name] for name in ("action", "state", "step", "since", "reason", "figures")}
    read = LaunchPlan(**{**plan, "steps": tuple(map(float, plan["steps"]))})
    return LaunchEvent(seq=seq, ts=ts, client=client, plan=read, **known)
