"""What every use case works with: the configured policies, the store, the clock."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import InitVar, dataclass, field, replace
from typing import overload

import structlog

from bandstand.bandit.catalogue import Catalogue
from bandstand.bandit.experiment import Arm, Experiment, Split
from bandstand.bandit.holdout import Holdout, HoldoutSplit
from bandstand.bandit.loop_definition import DEFAULT_LOOP, EVERYBODY, LearningMode, LoopDefinition
from bandstand.bandit.policies import Policy
from bandstand.bandit.reward_settings import CONTRACT, RewardSettings
from bandstand.bandit.ridge import Prior
from bandstand.errors import (
    ConfigurationError,
    FieldError,
    InvalidRequestError,
    LearningModeError,
    LoopRefusedError,
)
from bandstand.judge_worker.worker import JudgeWorker
from bandstand.learning.drift import DriftWatcher
from bandstand.learning.population import PopulationPriorRefresher
from bandstand.learning.shadows import ShadowRunner
from bandstand.learning.windows import WindowCloser
from bandstand.service.feature_health import FeatureHealth
from bandstand.service.reward_batch import RewardBatch
from bandstand.service.score_batch import ScoreBatch
from bandstand.store.ids import DecisionIds
from bandstand.store.learners.prior_file import PriorFiles
from bandstand.store.protocol import Store
from bandstand.store.records import PolicyRef
from bandstand.store.tables.launches import LaunchEvent
from bandstand.store.tables.policies import to_policy_ref
from bandstand.store.tables.promotions import ExperimentStart, Promotion
from bandstand.store.tables.splits import HoldoutStart
from bandstand.times import format_timestamp

log = structlog.get_logger("bandstand")

DEFAULT_POLICY = "linucb-v2"


@dataclass(slots=True)
class ServiceContext:
    """One running loop.

    Attributes:
        definition: what it is; mode and reward settings may change while it runs.
        active_policy: the policy that un-named requests mean; during an experiment, its arm of the largest weight.
        experiment: splits the users of un-named requests between policies.
        holdout: keeps a share of the users from the bandit.
        shadow_policies: names of the policies in the shadow.
        pinned_by: the setting that says which policy is active, so that no promotion can.
        score_when_full: answer ``/score`` without logging while the disk is full, instead of refusing.
        strict_features: refuse features that no schema reads.
        list_closed_loops: gives other loops that take no requests, and why.
        load_definition: gives what the loop is now, where other processes may have changed it.
        reward_settings: how rewards count.
        judge_worker: what becomes of turns; ``None`` takes none.
        shared_population: the learned priors where others have them too; made here if left out.
        prior_files: where learned priors are kept, if they are made here.
        population: the learned priors; opened after the store, and closed before it.
        drift: what counts of policies that adapt their memory; opened after the population, and closed before it.
        default_policy: the active policy where none was ever promoted.
        promotions: every change of the active policy, the oldest first; read by ``start``.
        launches: every event of every launch, the oldest first; read by ``start``.
        promotion_lock: held while the active policy is changed.
        running_experiment: when the experiment began.
        running_holdout: when the holdout began.
        shadows: looks at decisions; ``None`` if no policy is in the shadow.
        serves_baseline: whether the learning mode has the first candidate served, whatever was learned.
        scoring: decides requests together.
        rewarding: logs rewards together.
        feature_health: looks at what requests bring.
        windows: teaches silence; opened after the population, and closed before it.
    """

    catalogue: Catalogue
    store: Store
    active_policy: str = DEFAULT_POLICY
    experiment: Experiment | None = None
    holdout: Holdout | None = None
    shadow_policies: tuple[str, ...] = ()
    pinned_by: str | None = None
    score_when_full: bool = False
    strict_features: bool = False
    definition: LoopDefinition = field(default_factory=lambda: LoopDefinition(name=DEFAULT_LOOP))
    list_closed_loops: Callable[[], Mapping[str, str]] = dict
    load_definition: Callable[[], Awaitable[LoopDefinition | None]] | None = None
    reward_settings: RewardSettings = CONTRACT
    clock: Callable[[], float] = time.time
    decision_ids: DecisionIds = field(default_factory=DecisionIds)
    judge_worker: JudgeWorker | None = None
    shared_population: InitVar[PopulationPriorRefresher | None] = None
    prior_files: InitVar[PriorFiles | None] = None
    prior_refresh_rewards: InitVar[int | None] = None
    population: PopulationPriorRefresher = field(init=False)
    drift: DriftWatcher = field(init=False)
    policy_refs: Mapping[str, PolicyRef] = field(init=False)
    default_policy: str = field(init=False)
    promotions: list[Promotion] = field(init=False, default_factory=list)
    launches: list[LaunchEvent] = field(init=False, default_factory=list)
    promotion_lock: asyncio.Lock = field(init=False, default_factory=asyncio.Lock)
    running_experiment: ExperimentStart | None = field(init=False, default=None)
    running_holdout: HoldoutStart | None = field(init=False, default=None)
    shadows: ShadowRunner | None = field(init=False, default=None)
    serves_baseline: bool = field(init=False, default=False)
    scoring: ScoreBatch = field(init=False)
    rewarding: RewardBatch = field(init=False)
    feature_health: FeatureHealth = field(init=False)
    windows: WindowCloser = field(init=False)
    _split: Split | None = field(init=False, default=None)
    _held_out: HoldoutSplit | None = field(init=False, default=None)

    def __post_init__(
        self,
        shared_population: PopulationPriorRefresher | None,
        prior_files: PriorFiles | None,
        prior_refresh_rewards: int | None,
    ) -> None:
        if self.reward_settings != CONTRACT:
            self.definition = replace(self.definition, rewards=self.reward_settings)
        self.reward_settings = self.definition.rewards
        self.scoring = ScoreBatch(self)
        self.rewarding = RewardBatch(self)
        self.feature_health = FeatureHealth(self.catalogue)
        self.population = shared_population or PopulationPriorRefresher(
            self.catalogue, self.store, prior_files, refresh_rewards=prior_refresh_rewards, clock=self.clock
        )
        self.windows = WindowCloser(
            self.store,
            self.population.apply_reward,
            needs_polling=lambda: self.reward_settings.window is not None,
            teaches=lambda: self.mode != "logging",
        )
        self.drift = DriftWatcher(self.catalogue, self.store, self.population, clock=self.clock)
        self.active_policy = self.default_policy = self.catalogue.get_policy(self.active_policy).name
        if self.experiment is not None:
            arms = tuple(Arm(self.catalogue.get_policy(arm.policy).name, arm.weight) for arm in self.experiment.arms)
            self.experiment = replace(self.experiment, arms=arms).validate()
            self.active_policy, self.pinned_by = self.experiment.leading_policy, "EXPERIMENT"
        self.policy_refs = {name: to_policy_ref(policy) for name, policy in self.catalogue.policies.items()}
        self.shadow_policies = tuple(self.catalogue.get_policy(name).name for name in self.shadow_policies)
        self._run_shadows(self._list_shadows(self.mode))

    async def start(self) -> None:
        """Begin or continue experiment and shadows, and activate the policy that was promoted last.

        The store must be open.

        Raises:
            ConfigurationError: what was promoted last is not configured any more.
        """
        await self._begin_splits()
        await self.refresh()
        await self.apply_definition(self.definition)
        self.store.subscribe(self.refresh)
        self.store.subscribe_restores(self._resume)

    async def _resume(self) -> None:
        """Begin again what the ledger knows nothing of, since it was put back to an earlier moment."""
        log.warning("the ledger was read anew, as after a restore")
        await self._begin_splits()
        await self.refresh()
        await self.update_shadows()

    async def _begin_splits(self) -> None:
        definition = None if self.experiment is None else self.experiment.to_canonical_json()
        self.running_experiment = await self.store.set_experiment(definition)
        if self.experiment is not None:
            self._split = Split(self.experiment, self.store.secret)
        self.running_holdout = await self.store.set_holdout(
            None if self.holdout is None else self.holdout.to_canonical_json()
        )
        if self.holdout is not None:
            self._held_out = HoldoutSplit(self.holdout, self.store.secret)

    async def refresh(self) -> None:
        """Load which policy is active, where a launch stands, and how the loop learns.

        Another process may have changed each of them.

        Raises:
            ConfigurationError: what was promoted last is not configured here, or not any more; or no baseline is that
                the mode needs.
        """
        self.promotions = await self.store.list_promotions()
        self.launches = list(await self.store.list_launches())
        promoted = self.promotions[-1].policy if self.promotions else None
        if self.pinned_by is None and promoted is not None:
            if promoted not in self.catalogue.policies:
                message = (
                    f"policy {promoted!r} was promoted and is not configured any more: define it, or set ACTIVE_POLICY"
                )
                raise ConfigurationError(message)
            self.active_policy = promoted
        elif self.pinned_by is None:
            self.active_policy = self.default_policy
        self.apply_launch()
        if self.load_definition is not None and (definition := await self.load_definition()) is not None:
            self.follow_definition(definition)
        self._run_shadows_of(self.mode)

    def apply_launch(self) -> None:
        """Split the users as the newest launch has it; where a setting says who serves, it waits."""
        if self.pinned_by is not None:
            return
        newest = self.launches[-1] if self.launches else None
        configured = newest is not None and {newest.plan.policy, newest.plan.control} <= self.catalogue.policies.keys()
        if newest is None or not newest.is_serving or not configured:
            self._split = self.running_experiment = None
            return
        self._split = Split(newest.build_experiment(), self.store.secret)
        self.running_experiment = ExperimentStart(newest.since, newest.ts)

    @property
    def mode(self) -> LearningMode:
        """How the loop learns."""
        return self.definition.mode

    @property
    def has_one_model(self) -> bool:
        """Whether all users have one model."""
        return self.definition.scope == "loop"

    def get_owner(self, user_id: str) -> str:
        """The user whose model it is that decides for a user: their own, or everybody's.

        Raises:
            InvalidRequestError: it is a user's own name that everybody's model has.
        """
        if self.definition.scope == "user":
            return user_id
        if user_id == EVERYBODY:
            message = "is the name of the model of all users"
            raise InvalidRequestError(f"user_id: {message}", [FieldError("user_id", message)])
        return EVERYBODY

    async def apply_definition(self, definition: LoopDefinition) -> None:
        """Apply the mode and the reward settings of a definition.

        Everything else in it needs the loop to be opened again.

        Raises:
            LoopRefusedError: the mode needs a baseline that is not configured, or an experiment runs.
            OverloadedError, StorageFullError, StorageUnavailableError: the loop continues as before.
        """
        serves_baseline = definition.mode != "online"
        if serves_baseline and self._split is not None:
            cause = "a launch" if self.experiment is None else "EXPERIMENT"
            raise LoopRefusedError(
                f"while {cause} splits the users, the mode {definition.mode} serves none of its arms"
            )
        if serves_baseline and self._find_baseline() is None:
            raise LoopRefusedError(f"the mode {definition.mode} needs a policy of the kind first, and a floor of 0")
        await self._set_shadows(definition.mode)
        self._set_definition(definition)

    def follow_definition(self, definition: LoopDefinition) -> None:
        """Apply the mode and the reward settings that another process gave the loop.

        Everything else needs it to be opened again.

        Raises:
            ConfigurationError: the mode needs a baseline that is not configured here.
        """
        definition = definition.apply_to(self.definition)
        if definition.mode != "online" and self._find_baseline() is None:
            raise ConfigurationError(f"another process has set the mode {definition.mode}, and no baseline is here")
        self._set_definition(definition)
        self._run_shadows_of(definition.mode)

    def _set_definition(self, definition: LoopDefinition) -> None:
        self.definition, self.serves_baseline = definition, definition.mode != "online"
        self.reward_settings = definition.rewards
        if self.judge_worker is not None:
            self.judge_worker.conclusions.teaches = definition.mode != "logging"

    async def update_shadows(self) -> None:
        """Put into the shadow who belongs there, after another policy was made active."""
        await self._set_shadows(self.mode)

    def close_shadows(self) -> None:
        """Look at what still waits; the store must be open."""
        if self.shadows is not None:
            self.shadows.close()

    async def _set_shadows(self, mode: LearningMode) -> None:
        names = self._list_shadows(mode)
        await self.store.set_shadows([self.policy_refs[name] for name in names])
        self._run_shadows_of(mode)

    def _run_shadows_of(self, mode: LearningMode) -> None:
        names = self._list_shadows(mode)
        if names != ([] if self.shadows is None else [policy.name for policy in self.shadows.policies]):
            self.close_shadows()
            self._run_shadows(names)

    def _run_shadows(self, names: Sequence[str]) -> None:
        policies = [self.catalogue.policies[name] for name in names]
        self.shadows = ShadowRunner(policies, self.policy_refs, self.store, self.get_prior) if policies else None

    def _list_shadows(self, mode: LearningMode) -> list[str]:
        """Who is in the shadow: of an apprentice the active policy too, and nobody if nothing is taught."""
        if mode == "logging":
            return []
        return list(dict.fromkeys((*([self.active_policy] if mode == "apprentice" else ()), *self.shadow_policies)))

    def _find_baseline(self) -> Policy | None:
        schema = self.catalogue.policies[self.active_policy].schema.name
        return self.catalogue.find_baseline(schema) or self.catalogue.find_baseline()

    def choose_policy(self, name: str | None, user_id: str | None = None) -> Policy:
        """The policy that decides: :meth:`get_policy`'s, or the baseline where the learning mode has it served.

        Raises:
            UnknownPolicyError: none is configured under that name.
            LearningModeError: another than the baseline is named, and only that serves.
        """
        chosen = self.get_policy(name, user_id)
        if not self.serves_baseline:
            return chosen
        baseline = self._find_baseline()
        assert baseline is not None  # noqa: S101 (the mode was refused without)
        if name is not None and chosen is not baseline:
            raise LearningModeError(f"in the learning mode {self.mode} only {baseline.name} serves")
        return baseline

    def get_policy(self, name: str | None, user_id: str | None = None) -> Policy:
        """The policy of that name or alias; if none is named, what the user has: control, arm, or the active one.

        Raises:
            UnknownPolicyError: none is configured under that name.
        """
        if name is not None:
            return self.catalogue.get_policy(name)
        if self._held_out is not None and user_id is not None and self._held_out.is_control(user_id):
            return self.catalogue.policies[self._held_out.holdout.policy]
        if self._split is not None and user_id is not None:
            return self.catalogue.policies[self._split.assign_policy(user_id)]
        return self.catalogue.policies[self.active_policy]

    def is_held_out(self, user_id: str) -> bool:
        """Whether the user is kept from the bandit, and so from any experiment."""
        return self._held_out is not None and self._held_out.is_control(user_id)

    def get_prior(self, policy: Policy, user_id: str) -> Prior:
        """What a policy believes of a user before their first reward."""
        return self.population.get_prior(policy, user_id)

    def get_priors(self, policy: Policy, user_ids: Sequence[str]) -> list[Prior]:
        """The same of each of some users."""
        return self.population.get_priors(policy, user_ids)


@overload
def format_time(ts: float) -> str: ...
@overload
def format_time(ts: float | None) -> str | None: ...
def format_time(ts: float | None) -> str | None:
    """A time as the wire has it: ISO 8601 in UTC."""
    return None if ts is None else format_timestamp(ts)


@overload
def format_whole_seconds(ts: float) -> str: ...
@overload
def format_whole_seconds(ts: float | None) -> str | None: ...
def format_whole_seconds(ts: float | None) -> str | None:
    """A time as the contract's first routes have it: ISO 8601 in UTC, whole seconds, and Z for the zone.

    >>> format_whole_seconds(1_750_000_000.75)
    '2025-06-15T15:06:40Z'
    """
    return None if ts is None else format_timestamp(math.floor(ts)).replace("+00:00", "Z")
