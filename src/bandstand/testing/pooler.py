"""PgBouncer in transaction mode before a PostgreSQL of the tests: on a socket in a folder of its own."""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from bandstand.testing.postgres_server import PostgresServer

_PORT = 6432
_WAIT_S = 30.0
_SESSIONS = 8
"""Of the server: fewer than there are connections."""


def find_pooler() -> str | None:
    """PgBouncer on this machine."""
    return shutil.which("pgbouncer") or shutil.which("/usr/sbin/pgbouncer")


@contextmanager
def run_pooler(server: PostgresServer) -> Iterator[str]:
    """A pooler for the block; the URL of a ledger behind it."""
    program = find_pooler()
    if program is None:
        raise FileNotFoundError("PgBouncer is not installed: make databases")
    folder = Path(tempfile.mkdtemp(prefix="bandstand-pool-"))  # a socket's path must be short
    try:
        folder.chmod(0o755)
        settings = folder / "pgbouncer.ini"
        settings.write_text(
            f"""[databases]
postgres = host={server.folder} dbname=postgres user=bandstand
[pgbouncer]
listen_port = {_PORT}
unix_socket_dir = {folder}
auth_type = any
pool_mode = transaction
default_pool_size = {_SESSIONS}
max_client_conn = 500
"""
        )
        with subprocess.Popen(  # noqa: S603 (a program of the tests)
            [*server.build_prefix(folder), program, "-q", str(settings)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                _wait_for(folder / f".s.PGSQL.{_PORT}", process)
                host = quote(str(folder), safe="")
                yield f"postgresql://bandstand@/postgres?host={host}&port={_PORT}&pooler=transaction"
            finally:
                process.terminate()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for(socket: Path, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _WAIT_S
    while not socket.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("PgBouncer did not start")
        time.sleep(0.02)
