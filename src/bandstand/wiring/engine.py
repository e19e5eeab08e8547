"""Which engine keeps the state: a directory of this process's own, or a PostgreSQL for many."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from bandstand.bandit.catalogue import Catalogue
from bandstand.bandit.loop_definition import DEFAULT_LOOP, EVERYBODY, LoopDefinition
from bandstand.bandit.reward_settings import CONTRACT, RewardSettings
from bandstand.config.loops import get_loop_directory
from bandstand.config.settings import Settings
from bandstand.config.state_url import read_state_url
from bandstand.errors import ConfigurationError
from bandstand.personalizer.resource import ResourceLog, ResourceModel
from bandstand.service.loop_runtime import LoopPlaces
from bandstand.store.embedded.options import StoreOptions
from bandstand.store.embedded.store import EmbeddedStore
from bandstand.store.learners.prior_file import PriorFiles
from bandstand.store.prior_protocol import PriorLedger
from bandstand.store.protocol import Store
from bandstand.store.run_protocol import EvaluationStore
from bandstand.store.sqlite.writer import CommitObserver
from bandstand.store.tables.console_queries import ConsoleQueries, ConsoleSource
from bandstand.store.tables.evaluations import Evaluations
from bandstand.wiring.loop_places import DirectoryPlaces, SchemaPlaces

_SHARED_SETTINGS = (
    "active_policy",
    "experiment",
    "shadow",
    "durability",
    "holdout",
    "holdout_control",
    "decision_retention_days",
    "judge",
    "judge_tau",
)
"""Settings that processes over one ledger should agree on."""


class KeepsState(Store, ResourceLog, Protocol):
    """A store, and what Personalizer's wire asks of a log."""

    def reconfigure(self, catalogue: Catalogue, *, retention_days: int) -> None:
        """Have other policies, and keep events for another time, from the next opening on; it must be closed."""


@dataclass(frozen=True, slots=True)
class Engine:
    """What an engine brings to a loop.

    Attributes:
        store: the ledger, and the users in memory.
        sight: what the console looks into.
        prior_files: where one process keeps its learned priors; ``None`` where several share them.
        prior_ledger: where these are kept.
        directory: what holds the ledger; ``None`` where none does.
        evaluations: where evaluations of its log are kept.
        words: by which commands find the ledger.
        environment: of those that a service starts, for what no list of processes may show; its own if ``None``.
        model: makes and takes files of what was learned; ``None`` if those are made of the directory.
    """

    store: KeepsState
    sight: ConsoleSource
    prior_files: PriorFiles | None
    directory: Path | None
    evaluations: EvaluationStore
    words: Sequence[str]
    environment: Mapping[str, str] | None = field(default=None, repr=False)
    prior_ledger: PriorLedger | None = None
    model: ResourceModel | None = None


def build_engine(
    settings: Settings,
    catalogue: Catalogue,
    observe: CommitObserver,
    definition: LoopDefinition | None = None,
    place: str | None = None,
) -> Engine:
    """The engine that the settings name, not yet open.

    Args:
        settings: the deployment's.
        catalogue: the loop's policies and schemas.
        observe: called after each commit.
        definition: the loop; the default one if left out.
        place: what holds its state, if that is not named as the loop.

    Raises:
        ConfigurationError: the settings do not go together, or the engine is not installed.
    """
    definition = definition or LoopDefinition(name=DEFAULT_LOOP)
    if (url := read_state_url(settings)) is not None:
        return _build_shared_engine(settings, catalogue, observe, url, definition, place)
    if settings.durability == "strict":
        raise ConfigurationError("DURABILITY=strict needs STATE_URL; a state directory takes full or process")
    directory = get_loop_directory(settings, definition.name)
    store = EmbeddedStore(directory, catalogue, options=build_store_options(settings, definition), observe=observe)
    words = ("--state-dir", str(directory))
    return Engine(store, ConsoleQueries(directory), PriorFiles(directory), directory, Evaluations(directory), words)


def build_store_options(settings: Settings, definition: LoopDefinition) -> StoreOptions:
    """How the store of a loop behaves in a state directory."""
    return StoreOptions(
        sync=settings.durability == "full",
        max_warm_users=settings.max_warm_users,
        max_pending=settings.max_pending,
        checkpoint_seconds=settings.checkpoint_seconds,
        retention_days=get_retention_days(settings, definition),
        turn_retention_days=settings.turn_retention_days,
        close_seconds=settings.shutdown_seconds / 2,
        shared_user=EVERYBODY if definition.scope == "loop" else None,
    )


def get_retention_days(settings: Settings, definition: LoopDefinition) -> int:
    """How long a loop's decisions and rewards are kept: what it says itself, or else the settings; 0 for ever."""
    own = definition.retention_days
    return settings.decision_retention_days if own is None else own


def build_loop_places(settings: Settings, store: Store) -> LoopPlaces:
    """Where the state of the other loops is, given the default loop's store."""
    if read_state_url(settings) is None:
        return DirectoryPlaces(settings.state_dir)
    from bandstand.store.postgres.loop_schemas import LoopSchemas  # noqa: PLC0415 (its driver is an extra)
    from bandstand.store.postgres.store import SharedStore  # noqa: PLC0415 (the same)

    assert isinstance(store, SharedStore)  # noqa: S101 (what the same settings have made)
    return SchemaPlaces(LoopSchemas(store.ledger), settings.state_dir)


def _build_shared_engine(
    settings: Settings,
    catalogue: Catalogue,
    observe: CommitObserver,
    url: str,
    definition: LoopDefinition,
    place: str | None,
) -> Engine:
    try:  # the driver is an extra
        from bandstand.store.maintenance.shared_model import SharedModel  # noqa: PLC0415
        from bandstand.store.postgres.address import LedgerAddress  # noqa: PLC0415
        from bandstand.store.postgres.console_queries import SharedConsoleQueries  # noqa: PLC0415
        from bandstand.store.postgres.evaluation_runs import SharedEvaluationRuns  # noqa: PLC0415
        from bandstand.store.postgres.ledger import SharedStoreOptions  # noqa: PLC0415
        from bandstand.store.postgres.store import SharedStore  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name != "asyncpg":
            raise
        raise ConfigurationError("STATE_URL needs the driver: pip install 'bandstand[postgres]'") from None
    options = SharedStoreOptions(
        durability=settings.durability,
        max_warm_users=settings.max_warm_users,
        max_pending=settings.max_pending,
        retention_days=get_retention_days(settings, definition),
        turn_retention_days=settings.turn_retention_days,
        has_one_model=definition.scope == "loop",
        # How a loop counts rewards is in the ledger, the same for all; of the default one the settings say it.
        config_hash=compute_config_hash(settings, catalogue, definition.rewards if place is None else CONTRACT),
    )
    address = LedgerAddress.parse(url)
    if place is not None:
        address = replace(address, schema=place)
    store = SharedStore(address, catalogue, options=options, observe=observe)
    return Engine(
        store,
        SharedConsoleQueries(store.ledger),
        prior_files=None,
        directory=None,
        evaluations=SharedEvaluationRuns(address, store.ledger.lease.holder),
        words=("--loop", definition.name),
        environment={
            **os.environ,
            "STATE_DIR": str(settings.state_dir),
            **({} if settings.state_url is None else {"STATE_URL": url}),
        },
        prior_ledger=store.priors,
        model=SharedModel(store.ledger),
    )


def compute_config_hash(settings: Settings, catalogue: Catalogue, rewards: RewardSettings = CONTRACT) -> str:
    """A hash of what processes over one ledger should agree on."""
    shared = {name: str(getattr(settings, name)) for name in _SHARED_SETTINGS}
    policies = {name: (policy.hash, policy.schema.hash) for name, policy in catalogue.policies.items()}
    return hashlib.sha256(json.dumps([shared, policies, repr(rewards)], sort_keys=True).encode()).hexdigest()[:16]
