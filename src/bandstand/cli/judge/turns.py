"""``bandstand judge retry`` and ``reapply``: turns that were taken as rewards, in a service or in a directory."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Annotated, Any, TypeVar

import typer

from bandstand.cli.report import AsJson, show_result
from bandstand.cli.state.access import ApiKey, Url, call_service, run_on_store
from bandstand.cli.state.directory import LoopName, StateDir, build_path, resolve_location
from bandstand.cli.times import parse_time
from bandstand.config.settings import read_settings
from bandstand.judge_worker.worker import JudgeWorker
from bandstand.store.maintenance.import_ import CLIENT
from bandstand.store.protocol import Store

T = TypeVar("T")


def retry(
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Only turns taken at this time or later; in UTC unless it has a zone."),
    ] = None,
    reason: Annotated[
        str | None, typer.Option(metavar="REASON", help="Only turns unscored for that reason, such as timeout.")
    ] = None,
    state_dir: StateDir = None,
    loop: LoopName = None,
    url: Url = None,
    api_key: ApiKey = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Put turns that could not be judged back into the judge's queue.

    In a directory that no service uses, they are judged when a service starts.
    """
    chosen: dict[str, Any] = {} if reason is None else {"reason": reason}
    begin = None if since is None else parse_time("since", since)
    if url is not None:
        window = {} if begin is None else {"since": begin.isoformat()}
        answer = call_service(url, api_key, "POST", build_path("/judgements/retry", loop), json=window | chosen)
    else:
        from bandstand.service.judgements import retry as again  # noqa: PLC0415 (a command of its own name)

        seconds = 0.0 if begin is None else begin.timestamp()
        result = _run_on_directory(state_dir, loop, lambda judging: again(judging, CLIENT, since=seconds, **chosen))
        answer = asdict(result)
    show_result("Waiting for the judge again", answer, as_json=as_json)


def reapply(
    since: Annotated[
        str, typer.Option(metavar="TIME", help="Turns taken at this time or later; in UTC unless it has a zone.")
    ],
    state_dir: StateDir = None,
    loop: LoopName = None,
    url: Url = None,
    api_key: ApiKey = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Apply the present gate, rewards and calibration to old verdicts, without calling a judge.

    If the result differs, what was taught is taken back exactly and the new reward is taught.
    """
    begin = parse_time("since", since)
    if url is not None:
        path = build_path("/judgements/reapply", loop)
        answer = call_service(url, api_key, "POST", path, json={"since": begin.isoformat()})
    else:
        from bandstand.service.judgements import reapply_gate as hold  # noqa: PLC0415 (a command of its own name)

        held = _run_on_directory(state_dir, loop, lambda judging: hold(judging, CLIENT, since=begin.timestamp()))
        answer = asdict(held)
    show_result("Held to the gate again", answer, as_json=as_json)


def _run_on_directory(state_dir: str | None, loop: str | None, use_case: Callable[[JudgeWorker], Awaitable[T]]) -> T:
    """Own the directory for one use case; nothing is judged."""
    from bandstand.api.asgi.logs import configure_logging  # noqa: PLC0415 (as above)
    from bandstand.learning.population import PopulationPriorRefresher  # noqa: PLC0415 (as above)
    from bandstand.wiring.judge_worker import build_judge_worker  # noqa: PLC0415 (as above)

    settings = read_settings(state_dir=state_dir)
    configure_logging(settings.log_level)  # to stderr: what is printed is the answer
    location = resolve_location(state_dir, loop)

    async def run(store: Store) -> T:
        population = PopulationPriorRefresher(location.catalogue, store)
        return await use_case(build_judge_worker(settings, store, population))

    return run_on_store(location, run)
