"""``bandstand state``: looking after a state directory.

Commands that only read it (verify, export, backup) work while a service runs on it. The others own it, so the service
must be stopped first; ``reset``, ``erase``, ``revoke`` and ``reapply-reactions`` can also ask a running one.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from bandstand.atomic_file import replace_file
from bandstand.cli.report import AsJson, show_progress, show_result, show_rows
from bandstand.cli.state.directory import LoopName, StateDir, resolve_location
from bandstand.cli.state.move import move
from bandstand.cli.state.reactions import reapply
from bandstand.cli.state.shared import (
    EXIT_MISMATCH,
    import_to_shared_state,
    iter_exported_states,
    rebuild_shared_state,
    verify_shared_state,
)
from bandstand.cli.state.undo import revoke
from bandstand.cli.state.users import erase, reset
from bandstand.errors import InvalidRequestError
from bandstand.store.maintenance import backup as backups
from bandstand.store.maintenance import export as exporting
from bandstand.store.maintenance import migrate_schema, rebuild_verify
from bandstand.store.maintenance.import_ import ImportedUser, ImportResult, import_states
from bandstand.store.maintenance.legacy_import import read_ids, read_user_ids, read_v1, read_v1_of_users
from bandstand.store.maintenance.offline import open_owned, open_read_only
from bandstand.store.sqlite.errors import storage_errors
from bandstand.times import to_datetime

state = typer.Typer(
    name="state",
    help="Look after a state directory: check it, repair it, back it up, move it, forget users, take rewards back.",
    epilog="verify, export and backup work while a service runs; the others own the directory, or take --url.",
    no_args_is_help=True,
)


@state.command()
def rebuild(state_dir: StateDir = None, loop: LoopName = None, *, as_json: AsJson = False) -> None:
    """Make every user's document again from the ledger.

    A document is only a checkpoint, so the service is right without this; use it if documents are lost or cannot be
    trusted. The service must be stopped; of a shared ledger what is wrong is made again while services run.
    """
    location = resolve_location(state_dir, loop, or_shared=True)
    if location.address is not None:
        rebuild_shared_state(location, as_json=as_json)
        return
    with (
        open_owned(location.directory, location.catalogue) as opened,
        show_progress("users", opened.count_users()) as steps,
    ):
        result = rebuild_verify.rebuild_documents(opened, steps.advance)
    notes = []
    if result.baselines:
        notes.append(
            f"{result.baselines:,} users start from the state that retention kept: their events up to "
            f"{_format_date(result.reaches_back)} are gone, and no rebuild reaches further back."
        )
    if result.set_aside:
        notes.append(f"{result.set_aside:,} files were set aside in {location.directory / 'quarantine'}.")
    answer = asdict(result) | {"reaches_back": _format_date(result.reaches_back)}
    show_result("Rebuilt from the ledger", answer, as_json=as_json, notes=notes)


@state.command()
def verify(
    state_dir: StateDir = None,
    loop: LoopName = None,
    *,
    everybody: Annotated[
        bool, typer.Option("--all", help="Of a shared ledger: look at all checkpoints, not at a thousand.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare every document with the ledger, and check the ledger's file; exit 1 if anything is wrong.

    Needs no lock: it works while the service runs. Of a shared ledger it compares checkpoints and totals.
    """
    location = resolve_location(state_dir, loop, or_shared=True)
    if location.address is not None:
        verify_shared_state(location, everybody=everybody, as_json=as_json)
        return
    with show_progress("documents") as steps:
        result = rebuild_verify.verify(location.directory, location.catalogue, steps.advance)
    if result.damage:
        note = "The ledger's file is damaged: stop the service, keep the directory, and restore a backup."
    elif result.faults:
        note = "Repair: stop the service and run `bandstand state rebuild`; the ledger is right."
    else:
        note = "All is well."
    answer = {"ok": result.is_sound, **asdict(result)}
    if not as_json:
        answer["faults"] = [f"{fault.path}: {fault.reason}" for fault in result.faults]
    show_result("Verified", answer, as_json=as_json, notes=[note])
    if not result.is_sound:
        raise typer.Exit(EXIT_MISMATCH)


@state.command()
def export(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="Where to write; standard output if left out.", show_default=False),
    ] = None,
    state_dir: StateDir = None,
    loop: LoopName = None,
) -> None:
    """Write every user's state as a line of JSON, as the ledger has it now.

    Needs no lock: it works while the service runs.
    """
    location = resolve_location(state_dir, loop, or_shared=True)
    if location.address is not None:
        with show_progress("users") as steps:
            _write_lines(file, iter_exported_states(location, steps.advance))
        return
    with (
        open_read_only(location.directory, location.catalogue) as opened,
        show_progress("users", opened.count_users()) as steps,
    ):
        _write_lines(file, exporting.export(opened, steps.advance))


def _write_lines(file: Path | None, lines: Iterator[str]) -> None:
    if file is None:
        for line in lines:
            sys.stdout.write(line + "\n")
    else:
        _write_atomic(file, lines)


def _write_atomic(file: Path, lines: Iterator[str]) -> None:
    """Write a file that is either all there or not there; it is about people, so only its owner may read it."""
    with replace_file(file) as partial:
        partial.touch(mode=0o600)
        with partial.open("w", encoding="ascii") as output:
            output.writelines(line + "\n" for line in lines)


class Format(StrEnum):
    """What an import reads."""

    JSONL = "jsonl"
    V1 = "v1"


@state.command("import")
def import_(  # noqa: PLR0913 (each is a flag)
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", help="What `export` wrote (- is stdin); with --format v1, files or folders."),
    ],
    state_dir: StateDir = None,
    loop: LoopName = None,
    format_: Annotated[
        Format, typer.Option("--format", help="jsonl: what `export` wrote; v1: the first implementation's NAME.json.")
    ] = Format.JSONL,
    ids: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="With --format v1: user ids by NAME, as a JSON object or CSV/TSV rows."),
    ] = None,
    users: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="With --format v1: every user id, one a line or as a JSON array."),
    ] = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing; say what would happen.")] = False,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out bad lines or files and import the rest.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Import users' states, all or none; each becomes an event of the ledger and replaces what the user had.

    With --format v1 only the policies in the files are replaced. The service must be stopped; a new directory is fine.
    Over STATE_URL services may run, and each user is imported by themselves; it takes what `export` wrote.
    """
    _check_import_options(format_, ids, users)
    location = resolve_location(state_dir, loop, or_shared=True)
    if location.address is not None and format_ is Format.V1:
        raise InvalidRequestError("import --format v1 into a directory, `export` that, and import what it wrote")
    with ExitStack() as stack:
        if users is not None:
            incoming = read_v1_of_users(sources, read_user_ids(users))
        elif format_ is Format.V1:
            incoming = read_v1(sources, None if ids is None else read_ids(ids))
        else:
            if len(sources) != 1:
                raise InvalidRequestError("give one FILE, or - for stdin")
            stack.enter_context(storage_errors(sources[0]))
            file = sys.stdin.buffer if str(sources[0]) == "-" else stack.enter_context(sources[0].open("rb"))
            incoming = exporting.read_lines(file)
        if location.address is not None:
            steps = stack.enter_context(show_progress("users"))
            result = import_to_shared_state(location, incoming, skip_bad=skip_bad, dry_run=dry_run, tick=steps.advance)
            _show_import(result, dry_run=dry_run, as_json=as_json)
            return
        directory = location.directory
        if dry_run and not (directory / "ledger.db").exists():
            directory = Path(stack.enter_context(TemporaryDirectory()))  # so that none is made if none is
        opened = stack.enter_context(open_owned(directory, location.catalogue, new=True))
        steps = stack.enter_context(show_progress("users"))
        result = import_states(
            opened,
            incoming,
            now=time.time(),
            skip_bad=skip_bad,
            merge=format_ is Format.V1,
            dry_run=dry_run,
            tick=steps.advance,
        )
    _show_import(result, dry_run=dry_run, as_json=as_json)


def _check_import_options(format_: Format, ids: Path | None, users: Path | None) -> None:
    for option, given in (("--ids", ids), ("--users", users)):
        if given is not None and format_ is not Format.V1:
            raise InvalidRequestError(f"{option} goes with --format v1 only")
    if ids is not None and users is not None:
        raise InvalidRequestError("give --ids or --users, not both")


def _show_import(result: ImportResult, *, dry_run: bool, as_json: bool) -> None:
    notes = [
        f"{count:,} states of {what} were kept, though that is not configured here."
        for what, count in sorted(result.unknown.items())
    ]
    if result.erased:
        notes.append(f"{result.erased:,} users were left out: they were erased after their state was taken.")
    answer = asdict(result)
    if not dry_run or not as_json:
        del answer["found"]
    if dry_run and not as_json:
        show_rows(("user", "rewards by policy", "from"), map(_format_user, result.found))
    title = "Would import (nothing was changed)" if dry_run else "Imported"
    show_result(title, answer, as_json=as_json, notes=notes)


def _format_user(user: ImportedUser) -> tuple[str, str, str]:
    counts = ", ".join(f"{policy} {rewards:,}" for policy, rewards in user.policies.items())
    return user.user_id, counts, user.location


@state.command()
def migrate(
    schema: Annotated[
        list[str], typer.Option(metavar="NAME", help="A schema whose definition has changed; may be given repeatedly.")
    ],
    state_dir: StateDir = None,
    loop: LoopName = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing; say what would happen.")] = False,
    as_json: AsJson = False,
) -> None:
    """Encode everything learned with a schema again, after its definition has changed under the same name.

    The ledger holds raw contexts and candidates; only baselines and imports, which are sums, start cold. Back up
    before. The service must be stopped.
    """
    location = resolve_location(state_dir, loop)
    with open_owned(location.directory, location.catalogue, migrating=True) as opened:
        rounds = opened.count_users() * (1 if dry_run else 2)
        with show_progress("users", rounds) as steps:
            result = migrate_schema.migrate(opened, schema, dry_run=dry_run, tick=steps.advance)
    if not result.schemas:
        title = "Nothing to migrate: the sums fit the configured schemas"
    else:
        title = "Would migrate (nothing was changed)" if dry_run else "Migrated"
    notes = []
    if result.cold:
        notes.append(
            f"Sums of {result.cold:,} users from before a baseline or an import cannot be encoded again: they start "
            "cold there, with their counters kept."
        )
    show_result(title, asdict(result) | {"dry_run": dry_run}, as_json=as_json, notes=notes)


@state.command()
def backup(
    destination: Annotated[Path, typer.Argument(metavar="DEST", help="A new or empty directory.")],
    state_dir: StateDir = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Copy the ledger and the learned priors of every loop, each as of one moment, and check the copies.

    Needs no lock: it works while the service runs. Never copy the files of a running service yourself.
    """
    location = resolve_location(state_dir)
    with show_progress("pages") as steps:
        result = backups.create_backup(location.directory, destination, steps.update)
    notes = [
        f"To restore: stop the service, move {location.directory} away, copy {destination} to its place, start it.",
        "Documents are made again from the ledger as users are met, or at once by `bandstand state rebuild`.",
        "A user erased after this backup is in it: erase again after restoring.",
    ]
    show_result(
        "Backed up and checked", asdict(result) | {"destination": str(destination)}, as_json=as_json, notes=notes
    )


state.command()(reset)
state.command()(erase)
state.command()(revoke)
state.command("reapply-reactions")(reapply)
state.command()(move)


def _format_date(ts: float | None) -> str | None:
    return None if ts is None else to_datetime(ts).isoformat(timespec="seconds")
