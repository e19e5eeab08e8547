"""``bandstand population``: a population prior learned from every user, at once or in parts."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from bandstand.atomic_file import replace_file
from bandstand.bandit.policies import Policy
from bandstand.cli.report import AsJson, show_progress, show_result
from bandstand.cli.state.directory import LoopName, StateDir, StateLocation, resolve_location
from bandstand.learning.offline_prior import PriorPlan, fit_offline_prior, plan_prior, write_user_sums
from bandstand.learning.taught_users import DirectoryUsers, TaughtUsers
from bandstand.store.maintenance.offline import open_owned, open_read_only
from bandstand.store.sqlite.errors import storage_errors

population = typer.Typer(
    name="population",
    help="Learn a policy's population prior from every user of the ledger; a running service learns from a sample.",
    epilog="plan and map work while a service runs; fit and reduce own the directory.",
    no_args_is_help=True,
)

PolicyName = Annotated[str, typer.Option("--policy", metavar="NAME", help="The policy whose prior is learned.")]
PlanFile = Annotated[Path, typer.Argument(metavar="PLAN", help="The plan, a file.")]
_AT_ONCE = "users.zst"


@population.command()
def fit(policy: PolicyName, state_dir: StateDir = None, loop: LoopName = None, *, as_json: AsJson = False) -> None:
    """Learn the prior from all users at once, for the service's next start, or, over PostgreSQL, for all at once."""
    location = resolve_location(state_dir, loop, or_shared=True)
    chosen = location.catalogue.get_policy(policy)
    with TemporaryDirectory(prefix="bandstand-") as folder:
        path = Path(folder) / _AT_ONCE
        with _open_users(location) as users:
            plan_ = plan_prior(users, chosen, 1)
            with show_progress("users", len(users.list_keys())) as steps:
                write_user_sums(users, plan_, 0, chosen, path, steps.advance)
        _reduce(location, plan_, chosen, [path], as_json=as_json)


@population.command()
def plan(
    file: Annotated[Path, typer.Argument(metavar="PLAN", help="Where to write the plan.")],
    policy: PolicyName,
    parts: Annotated[int, typer.Option(min=1, metavar="N", help="At most so many parts.")] = 16,
    state_dir: StateDir = None,
    loop: LoopName = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Cut the users into parts: `map` collects what those of one have taught, `reduce` learns from all."""
    location = resolve_location(state_dir, loop, or_shared=True)
    with _open_users(location) as taught:
        made = plan_prior(taught, location.catalogue.get_policy(policy), parts)
        users = len(taught.list_keys())
    with storage_errors(file), replace_file(file) as partial:
        partial.write_text(made.to_text(), "ascii")
    show_result("Planned", {"plan": str(file), "parts": len(made.parts), "users": users}, as_json=as_json)


@population.command("map")
def map_(
    file: PlanFile,
    part: Annotated[int, typer.Argument(min=0, metavar="PART", help="Its number, from 0.")],
    to: Annotated[Path, typer.Option(metavar="FILE", help="Where to write.")],
    state_dir: StateDir = None,
    loop: LoopName = None,
) -> None:
    """Collect what the users of one part have taught, from the ledger or a backup of it."""
    location, made = resolve_location(state_dir, loop, or_shared=True), PriorPlan.read(file)
    with _open_users(location) as users, show_progress("users") as steps:
        write_user_sums(users, made, part, location.catalogue.get_policy(made.policy), to, steps.advance)


@population.command()
def reduce(
    file: PlanFile,
    sums: Annotated[list[Path], typer.Argument(metavar="SUMS", help="What `map` wrote of every part, in any order.")],
    state_dir: StateDir = None,
    loop: LoopName = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Learn the prior from the users of all parts, for the service as ``fit`` does."""
    location, made = resolve_location(state_dir, loop, or_shared=True), PriorPlan.read(file)
    _reduce(location, made, location.catalogue.get_policy(made.policy), sums, as_json=as_json)


def _reduce(location: StateLocation, plan_: PriorPlan, policy: Policy, paths: Sequence[Path], *, as_json: bool) -> None:
    with _open_users(location, writes=True) as users:
        fitted = fit_offline_prior(users, plan_, policy, paths)
    notes = [f"{fitted.gone:,} users have gone since, and are not in it."] if fitted.gone else []
    show_result("Learned", fitted._asdict(), as_json=as_json, notes=notes)


@contextmanager
def _open_users(location: StateLocation, *, writes: bool = False) -> Iterator[TaughtUsers]:
    if location.address is None:
        opened = open_owned if writes else open_read_only
        with opened(location.directory, location.catalogue) as state:
            yield DirectoryUsers(state)
        return
    from bandstand.store.postgres.taught_users import open_taught_users  # noqa: PLC0415 (its driver is an extra)

    with open_taught_users(location.address, location.catalogue, writes=writes) as users:
        yield users
