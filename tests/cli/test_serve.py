"""``bandstand serve`` as a process: it starts, is asked, is stopped, and refuses in one line what it cannot do."""

import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bandstand import __version__
from bandstand.cli.serve import serve
from bandstand.errors import ConfigurationError, StorageUnavailableError
from tests.cli.scripted_service import scripted_module

SCRIPT = Path(__file__).with_name("scripted_service.py")
GREETING = re.compile(rf"bandstand {re.escape(__version__)} serves http://127\.0\.0\.1:(\d+) with its state in (\S+)\n")


@contextlib.contextmanager
def start_serve(script: str, *flags: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    words = [sys.executable, str(SCRIPT), "serve", "--port", "0", "--state-dir", script, *flags]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdout=pipe, stderr=pipe, text=True, env=os.environ | environment) as process:
        try:
            yield process
        finally:
            process.kill()


def port_of(process: subprocess.Popen[str]) -> int:
    assert process.stderr is not None
    line = process.stderr.readline()
    greeting = GREETING.fullmatch(line)
    assert greeting, line + process.stderr.read()
    return int(greeting[1])


def send_request(port: int) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    with contextlib.closing(connection):
        connection.request("GET", "/")
        response = connection.getresponse()
        assert response.getheader("server") is None
        assert response.getheader("date") is not None
        return response.status, response.read()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_exit_code_0_after_the_app_has_saved(number: signal.Signals) -> None:
    with start_serve("plain") as process:
        assert send_request(port_of(process)) == (200, b"ok")
        process.send_signal(number)
        out, err = process.communicate(timeout=120)
    assert (process.returncode, out, err) == (0, "asked\nsaved\n", "")


def test_a_running_request_is_answered_before_the_end() -> None:
    with start_serve("slow") as process:
        port = port_of(process)
        answers: list[tuple[int, bytes]] = []
        asking = threading.Thread(target=lambda: answers.append(send_request(port)))
        asking.start()
        assert process.stdout is not None
        assert process.stdout.readline() == "asked\n"
        process.send_signal(signal.SIGTERM)
        asking.join(timeout=120)
        out, err = process.communicate(timeout=120)
    assert answers == [(200, b"ok")]
    assert (process.returncode, out, err) == (0, "saved\n", "")


def test_a_signal_during_start_up_ends_it_in_good_order_too() -> None:
    with start_serve("stopped-early") as process:
        out, _ = process.communicate(timeout=120)
    assert (process.returncode, out) == (0, "saved\n")


@pytest.mark.parametrize(
    ("script", "line"),
    [
        ("owned", "bandstand: the state directory is owned by process 1\n"),
        ("unsaved", "bandstand: the last checkpoint was not written\n"),
    ],
)
def test_what_the_app_refuses_while_starting_or_stopping_is_one_line_and_exit_code_2(script: str, line: str) -> None:
    with start_serve(script) as process:
        if script == "unsaved":
            port_of(process)
            process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=120)
    assert (process.returncode, out, err) == (2, "", line)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST."])
def test_localhost_is_both_loopbacks_on_one_port(host: str) -> None:
    with start_serve("plain", "--host", host) as process:
        port = port_of(process)
        for address in ["127.0.0.1", "::1"] if has_ipv6_loopback() else ["127.0.0.1"]:
            with contextlib.closing(http.client.HTTPConnection(address, port, timeout=20)) as connection:
                connection.request("GET", "/")
                assert connection.getresponse().read() == b"ok"


def has_ipv6_loopback() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def test_a_port_in_use_is_one_line_and_exit_code_2() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with start_serve("plain", "--port", str(port)) as process:
            out, err = process.communicate(timeout=120)
    line = f"bandstand: HOST='127.0.0.1' PORT={port} cannot be listened on: address already in use\n"
    assert (process.returncode, out, err) == (2, "", line)


# The same command within this process, for what needs no process of its own.


@pytest.fixture
def _scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bandstand.wiring.app", scripted_module())


@pytest.mark.usefixtures("_scripted")
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.2"])
def test_it_serves_a_loopback_address_and_gives_the_signals_back(host: str, capfd: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    serve(host=host, port="0", state_dir="stops-itself")
    out, err = capfd.readouterr()
    assert out == "saved\n"
    assert re.fullmatch(r"bandstand \S+ serves http://127\.0\.0\.[12]:\d+ with its state in stops-itself\n", err)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


@pytest.mark.usefixtures("_scripted")
@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_an_ipv6_address_is_written_as_a_url_wants_it(host: str, capfd: pytest.CaptureFixture[str]) -> None:
    if not has_ipv6_loopback():
        pytest.skip("this machine has no IPv6 loopback")
    serve(host=host, port="0", state_dir="stops-itself")
    assert "http://[::1]:" in capfd.readouterr().err


@pytest.mark.usefixtures("_scripted")
def test_a_variable_that_is_nearly_a_setting_is_said_at_the_start(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JUDGE_MDOEL", "c4n4ry")
    serve(port="0", state_dir="stops-itself")
    line, _ = capfd.readouterr().err.splitlines()
    assert '"variable": "JUDGE_MDOEL", "did_you_mean": "JUDGE_MODEL"' in line
    assert "c4n4ry" not in line


@pytest.mark.usefixtures("_scripted")
@pytest.mark.parametrize("script", ["owned", "stops-itself-unsaved"])
def test_what_the_lifespan_raises_reaches_the_caller_as_it_was_raised(script: str) -> None:
    with pytest.raises(StorageUnavailableError):
        serve(port="0", state_dir=script)


@pytest.mark.usefixtures("_scripted")
def test_an_app_that_ends_its_lifespan_without_a_word_is_an_error() -> None:
    with pytest.raises(RuntimeError, match=r"lifespan\.startup"):
        serve(port="0", state_dir="mute")


@pytest.mark.usefixtures("_scripted")
@pytest.mark.parametrize("host", ["0.0.0.0", "::"])  # noqa: S104 - this is what must be refused
def test_an_open_network_address_is_refused_without_keys(host: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(f"HOST='{host}' is open to the network")):
        serve(host=host, port="0", state_dir="stops-itself")


@pytest.mark.usefixtures("_scripted")
@pytest.mark.parametrize(("variable", "text"), [("ALLOW_OPEN", "1"), ("API_KEYS", "app:serve:x")])
def test_a_network_address_is_served_with_keys_or_when_asked_for(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], variable: str, text: str
) -> None:
    monkeypatch.setenv(variable, text)
    serve(host="0.0.0.0", port="0", state_dir="stops-itself")  # noqa: S104 - for the moment of this test, and empty
    assert capfd.readouterr().out == "saved\n"


def test_a_host_that_is_no_address_of_this_machine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="HOST='a b' names no address of this machine"):
        serve(host="a b", port="0")
    monkeypatch.setenv("ALLOW_OPEN", "1")
    with pytest.raises(ConfigurationError, match=r"HOST='192\.0\.2\.1' PORT=0 cannot be listened on"):
        serve(host="192.0.2.1", port="0", state_dir="owned")
