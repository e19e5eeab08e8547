"""Standard streams that are full, closed or never read stop nothing, neither at the start nor later."""

import http.client
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "bandstand"]
_SECONDS = 60.0


def list_links(folder: Path) -> list[str]:
    """What a process has open; what it closes meanwhile is passed over."""
    found = []
    for link in folder.iterdir():
        with suppress(FileNotFoundError):
            found.append(str(link.readlink()))
    return found


def find_port(process: subprocess.Popen[bytes]) -> int:
    """Where a service listens that can say so nowhere, as the kernel has it."""
    folder = Path("/proc", str(process.pid))
    if not folder.is_dir():
        pytest.skip("this machine has no /proc")
    until = time.monotonic() + _SECONDS
    while time.monotonic() < until:
        assert process.poll() is None, process.returncode
        links = list_links(folder / "fd")
        sockets = {match[1] for link in links if (match := re.fullmatch(r"socket:\[(\d+)\]", link))}
        for line in (folder / "net" / "tcp").read_text(encoding="ascii").splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in sockets:
                return int(fields[1].partition(":")[2], 16)
        time.sleep(0.01)
    raise AssertionError("it does not listen")


def send_many(port: int, count: int) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=_SECONDS)) as connection:
        for _ in range(count):
            connection.request("GET", "/ready")
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200


@pytest.mark.parametrize("streams", ["<&- >&- 2>&-", "> /dev/full 2>&1"])
def test_a_service_starts_serves_and_stops_without_a_log(tmp_path: Path, streams: str) -> None:
    words = [*COMMAND, "serve", "--port", "0", "--state-dir", str(tmp_path / "state")]
    script = f'exec "$@" {streams}'
    with subprocess.Popen(["/bin/sh", "-c", script, "sh", *words], env={**os.environ, "LOG_REQUESTS": "1"}) as process:
        try:
            send_many(find_port(process), 20)
            for descriptor in (0, 1, 2):
                assert not Path(f"/proc/{process.pid}/fd/{descriptor}").readlink().is_relative_to(tmp_path)
            process.send_signal(signal.SIGTERM)
            assert process.wait(_SECONDS) == 0
        finally:
            process.kill()


def test_a_log_that_nobody_reads_holds_nobody_up_and_says_later_what_it_lost(tmp_path: Path) -> None:
    words = [*COMMAND, "serve", "--port", "0", "--state-dir", str(tmp_path / "state")]
    environment = {**os.environ, "LOG_REQUESTS": "1"}
    with subprocess.Popen(words, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stderr is not None
        try:
            port = find_port(process)
            send_many(port, 1000)  # a pipe holds 64 KiB, which is less than so many lines are
            first = os.read(process.stderr.fileno(), 1 << 20)
            send_many(port, 1)
            process.send_signal(signal.SIGTERM)
            rest = process.stderr.read()
            assert process.wait(_SECONDS) == 0
        finally:
            process.kill()
    assert re.search(rb'"event": "log lines lost", "lines": \d{3},', rest)
    assert all(line.startswith((b"{", b"bandstand ")) for line in first.splitlines()[:100])


@pytest.mark.parametrize("streams", ["2> /dev/full", ">&- 2>&-"])
def test_a_command_that_cannot_say_why_it_refuses_still_has_its_exit_code(tmp_path: Path, streams: str) -> None:
    words = [*COMMAND, "state", "verify", "--state-dir", str(tmp_path)]
    done = subprocess.run(["/bin/sh", "-c", f'exec "$@" {streams}', "sh", *words], check=False, timeout=_SECONDS)
    assert done.returncode == 2


def test_output_that_nothing_takes_is_one_line_and_exit_code_1() -> None:
    words = ["/bin/sh", "-c", 'exec "$@" > /dev/full', "sh", *COMMAND, "settings"]
    done = subprocess.run(words, stderr=subprocess.PIPE, text=True, check=False, timeout=_SECONDS)
    assert (done.returncode, done.stderr) == (1, "bandstand: No space left on device\n")
