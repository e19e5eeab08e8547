"""Replay a uniformly logged Open Bandit file through Bandstand's HTTP interface, by rejection sampling.

    python examples/open_bandit/replay.py obd_small_random_all.csv.gz [--items 10] [--policy NAME] [--url URL]

Every logged impression becomes a ``/score`` request with the logged user's features and all items as candidates. Where
the pick is the item that was logged, its real click (1 or 0) is sent to ``/reward``; everywhere else nobody knows what
the user would have done, and nothing is sent. On a uniform log the impressions that match are a fair sample of what the
policy would have met, whatever it learns on the way (Li, Chu, Langford, Wang 2011, "Unbiased offline evaluation of
contextual-bandit-based news article recommendation algorithms"). One request after the other, in the order of the log:
each pick must know every reward before it.
"""

import csv
import gzip
import math
import os
import re
import subprocess
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, NamedTuple, TextIO, TypeVar
from urllib.parse import quote
from uuid import uuid4

import typer
from bandstand_client import Bandstand, BandstandError, Decision, ProblemError
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

CONFIG = Path(__file__).with_name("bandstand.toml")
RIDGE, CONTROL = "open-bandit-ridge", "open-bandit-uniform"

PROPENSITY_TOLERANCE = 1e-4
"""How far from 1/K, relatively, a propensity may be written: a tenth of what parts 1/K from 1/(K + 1) at K = 1,000."""

MOST_UNEVEN = 2.0
"""How many times its share 1/K an item may be shown, 5 standard deviations of chance aside, and be believed uniform."""

_USER_FEATURES = ("user_feature_0", "user_feature_1", "user_feature_2", "user_feature_3")
_COLUMNS = ("item_id", "position", "click", "propensity_score", *_USER_FEATURES)
_Z = 1.959964  # of a 95 % interval
_START_SECONDS = 60.0
_PATIENT_S = 30.0  # nobody waits for a replay, and a fallback would be no pick
_GREETING = re.compile(r"serves (http://\S+) with its state in")

T = TypeVar("T")


class ReplayError(Exception):
    """What cannot be replayed, in one line."""


class Impression(NamedTuple):
    """One row of the log: who saw which item where, with what propensity, and whether they clicked."""

    item: int
    position: int
    click: int
    propensity: float
    user: Mapping[str, str]


class Outcome(NamedTuple):
    """What a policy met in a replay."""

    policy: str
    matches: int
    clicks: int


# ── the log ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def read_log(path: Path) -> list[Impression]:
    """Read a CSV file of impressions, gzipped if it is called ``.gz``; columns that are not needed may be there.

    Raises:
        ReplayError: it cannot be read, lacks a column (named), has no rows, or a row (named) makes no sense.
    """
    log: list[Impression] = []
    try:
        with _opened(path) as text:
            reader = csv.DictReader(text, strict=True)
            _require_columns(reader.fieldnames or ())
            for number, cells in enumerate(reader, start=1):
                log.append(_impression(cells, f"row {number} (line {reader.line_num})"))
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        after = f" after row {len(log)}" if log else ""
        raise ReplayError(f"the log cannot be read{after}: {error}") from None
    if not log:
        raise ReplayError("the log is empty: it has a header but no rows")
    return log


def _opened(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _require_columns(columns: Sequence[str]) -> None:
    if not columns:
        raise ReplayError("the log is empty: it has no header")
    missing = [name for name in _COLUMNS if name not in columns]
    if missing:
        raise ReplayError(f"the log lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}")


def _impression(cells: Mapping[str | None, Any], where: str) -> Impression:
    if None in cells or None in cells.values():
        raise ReplayError(f"{where} has {'more' if None in cells else 'fewer'} cells than the header")
    blank = [name for name in _USER_FEATURES if not cells[name]]
    if blank:
        raise ReplayError(f"{where}: {blank[0]} is blank")
    try:
        propensity = float(cells["propensity_score"])
    except ValueError:
        propensity = math.nan
    if not 0.0 < propensity <= 1.0:
        raise ReplayError(f"{where}: propensity_score is {cells['propensity_score']!r}, not a number above 0, up to 1")
    if cells["click"] not in {"0", "1"}:
        raise ReplayError(f"{where}: click is {cells['click']!r}, not 0 or 1")
    return Impression(
        item=_whole(cells, "item_id", where),
        position=_whole(cells, "position", where),
        click=int(cells["click"]),
        propensity=propensity,
        user={name: cells[name] for name in _USER_FEATURES},
    )


def _whole(cells: Mapping[str | None, Any], name: str, where: str) -> int:
    text: str = cells[name]
    if not (text.isascii() and text.isdigit()):
        raise ReplayError(f"{where}: {name} is {text!r}, not a whole number from 0")
    return int(text)


def require_uniform(log: Sequence[Impression]) -> None:
    """Check that at every position every one of the log's K items had the same chance.

    By what the log says: each propensity is 1/K, within 0.01 %. And by what it shows, since a column is easily
    overwritten: at no position an item more than 2n/K + 5√(n/K) times in n. That is wide on purpose: neighbouring rows
    of a real log repeat each other, so that its counts spread more than independent ones.

    Raises:
        ReplayError: they had not.
    """
    count = len({row.item for row in log})
    if count == 1:
        raise ReplayError("the log shows a single item: there is nothing to choose")
    uniform = 1.0 / count
    other = [
        number
        for number, row in enumerate(log, start=1)
        if not math.isclose(row.propensity, uniform, rel_tol=PROPENSITY_TOLERANCE)
    ]
    if other:
        first = log[other[0] - 1]
        raise ReplayError(
            f"the log is not uniform: it shows {count} items, so each propensity_score should be 1/{count} = "
            f"{uniform:.6g}, but {len(other):,} of {len(log):,} are not; the first is {first.propensity:g}, in row "
            f"{other[0]} at position {first.position}. Rejection sampling is fair on a uniform log only"
        )
    for position in sorted({row.position for row in log}):
        shown = Counter(row.item for row in log if row.position == position)
        share = shown.total() / count
        item, most = shown.most_common(1)[0]
        if most > MOST_UNEVEN * share + 5.0 * math.sqrt(share):
            raise ReplayError(
                f"the log is not uniform, though its propensities say so: at position {position} it shows item {item} "
                f"{most:,} times in {shown.total():,}, where 1/{count} would be {share:,.0f}"
            )


def most_shown(log: Sequence[Impression], count: int) -> list[Impression]:
    """Return the impressions of the ``count`` items shown most often, of equals the lower number first.

    Given that it is one of them, each was as likely as the others: a uniform log stays one, over fewer items.

    Raises:
        ReplayError: there are not so many items, or fewer than two are asked for.
    """
    shown = Counter(row.item for row in log)
    if not 2 <= count <= len(shown):  # noqa: PLR2004 (a choice takes two)
        raise ReplayError(f"--items must be from 2 to the log's {len(shown)} items, not {count}")
    kept = set(sorted(shown, key=lambda item: (-shown[item], item))[:count])
    return [row for row in log if row.item in kept]


# ── the replay ────────────────────────────────────────────────────────────────────────────────────────────────────────


def replay(
    client: Bandstand, policy: str, log: Sequence[Impression], user_id: str, advance: Callable[[], None]
) -> Outcome:
    """Let a policy choose at every impression and learn from those where it chose what was shown.

    Args:
        client: of the service.
        policy: by name.
        log: uniform; its items are the candidates.
        user_id: who all of the log's visitors are to the service; it must not have met them before.
        advance: called after every impression.

    Raises:
        ReplayError: the service cannot be reached, or refuses.
    """
    items = sorted({row.item for row in log})
    matches = clicks = 0
    for row in log:
        decision = _score(client, policy, row, items, user_id)
        if decision.pick == row.item:
            _call("/reward", partial(decision.reward, row.click))
            matches += 1
            clicks += row.click
        advance()
    return Outcome(policy, matches, clicks)


def _score(client: Bandstand, policy: str, row: Impression, items: Sequence[int], user_id: str) -> Decision[int]:
    def describe(item: int) -> dict[str, object]:
        return {"id": str(item), "source": "catalogue", "features": {"item": item, "position": row.position}}

    decision = _call(
        f"/score/{quote(policy, safe='')}",
        lambda: client.score(user_id, items, context=row.user, policy=policy, encode=describe, deadline=_PATIENT_S),
    )
    if decision.fallback is not None:  # a product would show it; a replay counts picks
        raise ReplayError(f"{client} gave no pick: {decision.error or decision.fallback}")
    return decision


def _call(path: str, call: Callable[[], T]) -> T:
    try:
        return call()
    except ProblemError as error:
        raise ReplayError(f"{path} was refused with {error.status}: {error.detail}") from None
    except BandstandError as error:
        raise ReplayError(f"{path}: {error}") from None


@contextmanager
def served() -> Iterator[str]:
    """Serve this example's configuration on a free loopback port; give the address, and take the state away after.

    Raises:
        ReplayError: it did not start.
    """
    with TemporaryDirectory(prefix="open-bandit-") as folder:
        state, said = Path(folder, "state"), Path(folder, "said")
        command = [sys.executable, "-m", "bandstand", "serve", "--host", "127.0.0.1", "--port", "0"]
        # Nothing else of the environment: no setting of another deployment reaches this one.
        environment = {"BANDSTAND_CONFIG": str(CONFIG), "PATH": os.environ.get("PATH", os.defpath)}
        with (
            said.open("wb") as output,
            subprocess.Popen(  # noqa: S603 (our own words)
                [*command, "--state-dir", str(state)], env=environment, stdout=output, stderr=subprocess.STDOUT
            ) as process,
        ):
            try:
                yield _address(process, said)
            finally:
                process.terminate()


def _address(process: subprocess.Popen[bytes], said: Path) -> str:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        ended = process.poll() is not None
        text = said.read_text(encoding="utf-8", errors="replace")
        if greeting := _GREETING.search(text):
            return greeting[1]
        if ended:
            raise ReplayError(f"bandstand serve did not start: {(text.splitlines() or ['no word'])[-1]}")
        time.sleep(0.05)
    raise ReplayError(f"bandstand serve did not start within {_START_SECONDS:.0f} seconds")


# ── the report ────────────────────────────────────────────────────────────────────────────────────────────────────────


def wilson(clicks: int, shown: int) -> tuple[float, float]:
    """Return the 95 % interval of a rate of which ``clicks`` in ``shown`` were seen (Wilson 1927, the score interval).

    It holds its level at a handful of clicks, and at none, where rate ± 2 standard errors is a point.
    """
    if shown == 0:
        return 0.0, 1.0
    rate, z2 = clicks / shown, _Z * _Z
    middle = (rate + z2 / (2 * shown)) / (1 + z2 / shown)
    half = _Z * math.sqrt(rate * (1 - rate) / shown + z2 / (4 * shown * shown)) / (1 + z2 / shown)
    return max(0.0, middle - half), min(1.0, middle + half)


def report(log: Sequence[Impression], outcomes: Sequence[Outcome]) -> Table:
    """Set what each policy met beside what the log holds."""
    rows, items = len(log), len({row.item for row in log})
    expected = f"{rows / items:,.0f} ± {math.sqrt(rows / items * (1 - 1 / items)):.0f}"
    table = Table(title=f"{rows:,} impressions of {items} items", box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("policy", no_wrap=True)
    for heading in ("matches", "expected", "clicks", "click rate", "95 % interval"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_row("the log itself", "", "", *_rates(sum(row.click for row in log), rows), end_section=True)
    for policy, matches, clicks in outcomes:
        table.add_row(policy, f"{matches:,}", expected, *_rates(clicks, matches))
    return table


def _rates(clicks: int, shown: int) -> tuple[str, str, str]:
    low, high = wilson(clicks, shown)
    return f"{clicks:,}", f"{clicks / shown:.2%}" if shown else "–", f"{100 * low:.2f}–{100 * high:.2f}%"


command = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@command.command()
def main(
    file: Annotated[Path, typer.Argument(help="A uniformly logged CSV file of the Open Bandit Dataset, also gzipped.")],
    *,
    items: Annotated[
        int | None, typer.Option(help="Keep only the items shown most often, so many, and their impressions.")
    ] = None,
    policy: Annotated[
        list[str] | None, typer.Option(help=f"A policy to replay; may be repeated.  [default: {RIDGE} and {CONTROL}]")
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="A service that runs with this example's bandstand.toml; unset, one is started.")
    ] = None,
    api_key: Annotated[
        str | None, typer.Option(envvar="BANDSTAND_API_KEY", help="Its key, of role serve or admin.")
    ] = None,
) -> None:
    """Replay a uniform log through Bandstand, and set the click rate of each policy beside the log's own."""
    try:
        log = read_log(file)
        require_uniform(log)
        if items is not None:
            log = most_shown(log, items)
        with (
            served() if url is None else nullcontext(url) as address,
            Bandstand(address, api_key, deadline=_PATIENT_S) as client,
        ):
            outcomes = _replayed(client, policy or [RIDGE, CONTROL], log)
    except (ReplayError, ValueError) as error:
        typer.echo(f"replay: {error}", err=True)
        raise typer.Exit(2) from None
    Console().print(report(log, outcomes))


def _replayed(client: Bandstand, policies: Sequence[str], log: Sequence[Impression]) -> list[Outcome]:
    user_id = f"open-bandit-{uuid4().hex[:8]}"  # new in every run: a replay starts from nothing
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    outcomes = []
    with Progress(*columns, console=Console(stderr=True)) as progress:
        for policy in policies:
            task = progress.add_task(policy, total=len(log))
            outcomes.append(replay(client, policy, log, user_id, partial(progress.advance, task)))
    return outcomes


if __name__ == "__main__":
    command()
