"""``bandstand serve --workers N``: processes on one port that are started, watched and stopped together."""

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bandstand.cli.serve import serve
from bandstand.errors import ConfigurationError
from tests.cli.test_serve import send_request, start_serve

SECONDS = 60.0


@contextlib.contextmanager
def start_workers(script: str, count: int = 2) -> Iterator[subprocess.Popen[str]]:
    """Workers around an app that asks no database for anything; whatever is left of them ends with the block."""
    with start_serve(script, "--workers", str(count), STATE_URL="postgresql:///nobody-asks-it") as process:
        workers: set[int] = set()
        try:
            yield process
            workers |= list_workers(process)
        finally:
            process.kill()
            for pid in workers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def list_workers(process: subprocess.Popen[str]) -> set[int]:
    """The children of a process that has not been waited for."""
    try:
        return {int(word) for word in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()}
    except FileNotFoundError:
        return set()


def read_port(process: subprocess.Popen[str]) -> int:
    """The port of the greeting, which comes when all workers serve."""
    assert process.stderr is not None
    line = process.stderr.readline()
    assert line.endswith("with its state in the PostgreSQL of STATE_URL, 2 workers\n"), line + process.stderr.read()
    return int(line.split("http://127.0.0.1:")[1].split()[0])


def ask_until(port: int, pids: set[int]) -> None:
    """Ask, each time over another connection, until just these have answered."""
    missing, until = set(pids), time.monotonic() + SECONDS
    while missing:
        assert time.monotonic() < until
        status, body = send_request(port)
        assert status == 200
        assert int(body) in pids
        missing.discard(int(body))


def test_all_answer_on_one_port_and_one_that_is_killed_is_replaced() -> None:
    with start_workers("says-who") as process:
        port, workers = read_port(process), list_workers(process)
        assert len(workers) == 2
        ask_until(port, workers)
        killed = min(workers)
        os.kill(killed, signal.SIGKILL)
        assert process.stderr is not None
        line = json.loads(process.stderr.readline())
        assert (line["event"], line["pid"]) == ("a worker ended and is started again", killed)
        assert line["exit_code"] == -signal.SIGKILL
        until = time.monotonic() + SECONDS
        while len(list_workers(process) - {killed}) < 2:
            assert time.monotonic() < until
            time.sleep(0.01)
        ask_until(port, list_workers(process))
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=120)
    assert (process.returncode, out.count("saved"), err) == (0, 2, "")


def test_the_requests_of_all_are_answered_before_the_end() -> None:
    with start_workers("slow") as process:
        port = read_port(process)
        answers: list[tuple[int, bytes]] = []
        asking = [threading.Thread(target=lambda: answers.append(send_request(port))) for _ in range(6)]
        for each in asking:
            each.start()
        assert process.stdout is not None
        for _ in asking:
            assert process.stdout.readline() == "asked\n"
        process.send_signal(signal.SIGINT)
        for each in asking:
            each.join(timeout=120)
        out, err = process.communicate(timeout=120)
    assert answers == [(200, b"ok")] * 6
    assert (process.returncode, out, err) == (0, "saved\nsaved\n", "")


def test_workers_end_in_good_order_when_the_process_that_watches_them_is_killed() -> None:
    with start_workers("plain") as process:
        read_port(process)
        process.kill()
        out, err = process.communicate(timeout=120)  # until nobody has them open
    assert (out, err) == ("saved\nsaved\n", "")


@pytest.mark.parametrize(
    ("script", "lines"),
    [
        ("owned", ["bandstand: the state directory is owned by process 1"]),
        ("unsaved", ["bandstand: the last checkpoint was not written"] * 2),
    ],
)
def test_what_keeps_them_from_starting_is_said_once_and_what_fails_at_the_end_by_each(
    script: str, lines: list[str]
) -> None:
    with start_workers(script) as process:
        if script == "unsaved":
            read_port(process)
            process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=120)
    assert (process.returncode, out, err.splitlines()) == (2, "", lines)


def test_a_port_that_another_group_serves_is_in_use() -> None:
    with start_workers("plain") as process:
        port = read_port(process)
        with start_serve("plain", "--workers", "2", "--port", str(port), STATE_URL="postgresql:///x") as second:
            _, err = second.communicate(timeout=120)
        line = f"bandstand: HOST='127.0.0.1' PORT={port} cannot be listened on: address already in use\n"
        assert (second.returncode, err) == (2, line)


def test_workers_over_a_state_directory_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationError, match="--workers 2 needs STATE_URL: a state directory belongs to one process"
    ):
        serve(port="0", state_dir=str(tmp_path), workers=2)
