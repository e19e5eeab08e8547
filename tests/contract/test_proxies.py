"""Behind real proxies: nginx shows the service under a path of its own, HAProxy asks whether it lives.

`make proxies` installs both; without them these tests are skipped, and in CI they fail.
"""

import os
import re
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from html import unescape
from pathlib import Path

import httpx
import pytest

from tests.api.given import API_KEYS, KEYS, TWO
from tests.console.given import ADMIN
from tests.contract.server import start_server
from tests.project.checkout import tool

pytestmark = pytest.mark.slow

ADDRESS = re.compile(r'\b(?:href|src|data-[a-z]+)="(/[^"]*)"')
FORM = re.compile(r'\baction="(/[^"]*)"')
_SECONDS = 60.0

NGINX = """
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    proxy_redirect off;
    proxy_set_header Host $host;
    server {{
        listen unix:{socket};
        location /cut/ {{ proxy_pass http://127.0.0.1:{plain}/; proxy_set_header X-Forwarded-Prefix /cut; }}
        location /set/ {{ proxy_pass http://127.0.0.1:{rooted}/; }}
    }}
    server {{
        listen unix:{socket};
        server_name kept.localhost;
        location /set/ {{ proxy_pass http://127.0.0.1:{rooted}; }}
    }}
}}
"""

HAPROXY = """
global
    stats socket {folder}/stats
defaults
    mode http
    timeout connect 5s
    timeout client 20s
    timeout server 20s
frontend all
    bind unix@{socket}
    default_backend bandstand
backend bandstand
    option httpchk GET PROBE
    server one 127.0.0.1:{port} check inter 100ms fall 1 rise 1
"""


@contextmanager
def run_proxy(
    *words: str, configuration: str, environment: Mapping[str, str] | None = None, **ports: int
) -> Iterator[Path]:
    """A proxy on a socket in a folder of its own, which may only have a short name; the folder."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        socket_path = folder / "socket"
        filled = configuration.format(folder=folder, socket=socket_path, **ports)
        (folder / "conf").write_text(filled, encoding="utf-8")
        given = {name: text.format(socket=socket_path) for name, text in (environment or {}).items()}
        process = subprocess.Popen([*words, str(folder / "conf")], env=os.environ | given)
        try:
            until = time.monotonic() + _SECONDS
            while not socket_path.exists():
                assert process.poll() is None
                assert time.monotonic() < until
                time.sleep(0.01)
            yield folder
        finally:
            process.terminate()
            process.wait(_SECONDS)


def connect_through(folder: Path, **headers: str) -> httpx.Client:
    """A client of the service behind the proxy of that folder."""
    transport = httpx.HTTPTransport(uds=str(folder / "socket"))
    return httpx.Client(transport=transport, base_url="http://127.0.0.1", headers=headers, timeout=_SECONDS)


def test_behind_nginx_every_page_link_form_and_cookie_is_below_the_prefix(tmp_path: Path) -> None:
    settings = {"API_KEYS": API_KEYS}
    user = ("-g", "user root;") if os.geteuid() == 0 else ()  # the folder is nobody else's
    with (
        start_server(tmp_path / "plain", **settings) as plain,
        start_server(tmp_path / "rooted", ROOT_PATH="/set", **settings) as rooted,
    ):
        command = (tool("nginx"), *user, "-e", "stderr", "-c")
        with run_proxy(*command, configuration=NGINX, plain=plain.port, rooted=rooted.port) as folder:
            for host, prefix in (("127.0.0.1", "/cut"), ("127.0.0.1", "/set"), ("kept.localhost", "/set")):
                with connect_through(folder, host=host, accept="text/html") as client:
                    browse(client, prefix)
                    call(client, prefix)


def call(client: httpx.Client, prefix: str) -> None:
    """Score as a program does that has read where the service is out of its OpenAPI document."""
    key = {"x-api-key": KEYS["ops"][1]}
    document = client.get(f"{prefix}/openapi.json", headers=key).json()
    assert document["servers"] == [{"url": prefix}]
    base = document["servers"][0]["url"]
    before = client.get(f"{base}/stats/ada", headers=key).json()["pulls"]
    scored = client.post(f"{base}/score", json={"user_id": "ada", "candidates": TWO}, headers=key)
    assert scored.status_code == 200
    assert client.get(f"{base}/stats/ada", headers=key).json()["pulls"] == before + 1


def browse(client: httpx.Client, prefix: str) -> None:
    """Open the bare address, log in, and follow every address of every page, as a person with a browser would."""
    page = client.get(f"{prefix}/", follow_redirects=True)
    assert page.url.path == f"{prefix}/console/login"
    (token,) = re.findall(r'name="token" value="([^"]*)"', page.text)
    form = {"key": ADMIN, "token": token, "next": "/console"}
    page = client.post(f"{prefix}/console/login", data=form, follow_redirects=True)
    assert (page.status_code, page.url.path) == (200, f"{prefix}/console")
    waiting, seen = set(ADDRESS.findall(page.text)) | {f"{prefix}/docs"}, set[str]()
    while waiting:
        address = waiting.pop()
        assert address.startswith(f"{prefix}/"), address
        seen.add(address)
        page = client.get(unescape(address), follow_redirects=True)
        assert page.status_code == 200, address
        if page.headers["content-type"].startswith("text/html"):
            waiting |= set(ADDRESS.findall(page.text)) - seen
            assert all(action.startswith(f"{prefix}/console/") for action in FORM.findall(page.text))
    assert {f"{prefix}/console/users", f"{prefix}/console/simulations/new"} <= seen
    (token,) = set(re.findall(r'name="token" value="([^"]*)"', client.get(f"{prefix}/console").text))
    left = client.post(f"{prefix}/console/logout", data={"token": token}, follow_redirects=True)
    assert left.url.path == f"{prefix}/console/login"
    assert client.get(f"{prefix}/console").status_code == 303


def test_haproxy_s_probe_finds_a_service_without_keys_alive(tmp_path: Path) -> None:
    with start_server(tmp_path / "state") as server:
        for probe in ("/health", "/ready"):
            configuration = HAPROXY.replace("PROBE", probe)
            with (
                run_proxy(tool("haproxy"), "-db", "-f", configuration=configuration, port=server.port) as folder,
                connect_through(folder) as client,
            ):
                assert read_check(folder / "stats") == "L7OK"
                assert client.get("/stats").status_code == 200


def read_check(stats: Path) -> str:
    """What HAProxy's first probe came to."""
    until = time.monotonic() + _SECONDS
    while time.monotonic() < until:
        with socket.socket(socket.AF_UNIX) as asked:
            try:
                asked.connect(str(stats))
            except OSError:
                time.sleep(0.01)
                continue
            asked.sendall(b"show stat\n")
            text = b"".join(iter(lambda: asked.recv(65_536), b"")).decode()
        header, *rows = (line.split(",") for line in text.splitlines() if line)
        for row in rows:
            found = dict(zip(header, row, strict=False))
            if found["svname"] == "one" and found["check_status"] not in {"", "INI"}:
                return found["check_status"]
        time.sleep(0.01)
    raise AssertionError("HAProxy has not probed")
