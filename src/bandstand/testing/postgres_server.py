"""PostgreSQL servers for tests and benchmarks: on a socket in a temporary folder, by a user who is not root."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

QUICK_SETTINGS = {"fsync": "off", "full_page_writes": "off", "autovacuum": "off"}
"""Of a server that need not survive anything."""
_USERS = ("postgres", "nobody")


def find_programs() -> Path | None:
    """The folder of the newest PostgreSQL on this machine."""
    if (found := shutil.which("postgres")) is not None:
        return Path(found).resolve().parent
    return max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)


class PostgresServer:
    """A server in a folder of its own.

    Args:
        folder: an empty one that its user may write to.
        settings: of ``postgresql.conf``.
        primary: whose standby it is to be, by the name ``standby``; that must run.
        network: the network namespace that it is in, where its addresses are; the caller's if left out.
        source: the address at which the primary is reached; its socket if left out.
    """

    def __init__(
        self,
        folder: Path,
        settings: dict[str, str] | None = None,
        primary: "PostgresServer | None" = None,
        *,
        network: str | None = None,
        source: str | None = None,
    ) -> None:
        self.folder = folder
        programs = find_programs()
        if programs is None:
            raise FileNotFoundError("PostgreSQL is not installed: make databases")
        self._programs = programs
        self._data = folder / "data"
        self._network = network
        self._user = None if os.geteuid() else next(name for name in _USERS if _has_user(name))
        self._settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(folder),
            "max_connections": "100",
            "shared_buffers": "64MB",
            "logging_collector": "off",
            **(settings or {}),
        }
        if self._user is not None:
            shutil.chown(folder, self._user)
        if primary is not None:
            conninfo = f"host={source or primary.folder} dbname=postgres user=bandstand application_name=standby"
            self._run("pg_basebackup", "-d", conninfo, "-D", str(self._data), "-R", "-X", "stream", "-c", "fast")
            return
        self._run("initdb", "-D", str(self._data), "-A", "trust", "-U", "bandstand", "-N", "--locale=C", "-E", "UTF8")
        if network is not None:
            with (self._data / "pg_hba.conf").open("a") as rules:
                rules.write("host all,replication all samenet trust\n")

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        options = " ".join(f"-c {name}='{value}'" for name, value in self._settings.items())
        self._run(
            "pg_ctl", "-D", str(self._data), "-w", "-t", "60", "-l", str(self.folder / "log"), "-o", options, "start"
        )

    def promote(self) -> None:
        """Let a standby take writes."""
        self._run("pg_ctl", "-D", str(self._data), "-w", "-t", "60", "promote")

    def stop(self) -> None:
        """Stop it at once."""
        self._run("pg_ctl", "-D", str(self._data), "-w", "-m", "immediate", "stop")

    def list_processes(self) -> list[int]:
        """Its processes' numbers, the one that starts the others first."""
        postmaster = int((self._data / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        return [postmaster, *map(int, children)]

    def kill(self) -> None:
        """Kill every process of it, as a machine that loses its power does."""
        for process in self.list_processes():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    def cpu(self) -> float:
        """Processor seconds that its living processes have used."""
        used = 0
        for process in self.list_processes():
            with suppress(OSError):
                used += int(Path(f"/proc/{process}/schedstat").read_text().split()[0])
        return used / 1e9

    def build_url(self, schema: str = "bandstand") -> str:
        """The URL of a ledger in a schema of its own."""
        return f"postgresql://bandstand@/postgres?host={quote(str(self.folder), safe='')}&schema={schema}"

    def build_prefix(self, folder: Path) -> tuple[str, ...]:
        """What to put before another program that is to run as the server does, and writes to that folder."""
        if self._user is not None:
            shutil.chown(folder, self._user)
        return self._build_prefix()

    def _build_prefix(self) -> tuple[str, ...]:
        if self._user is None:
            return ()
        group = str(pwd.getpwnam(self._user).pw_gid)
        return ("setpriv", "--reuid", self._user, "--regid", group, "--clear-groups")

    def _run(self, program: str, *arguments: str) -> None:
        network: tuple[str, ...] = () if self._network is None else ("ip", "netns", "exec", self._network)
        command = [*network, *self._build_prefix(), str(self._programs / program), *arguments]
        # A server that is left running would keep a pipe open: its words go to a file.
        with (self.folder / "commands").open("ab") as words:
            done = subprocess.run(command, stdout=words, stderr=subprocess.STDOUT, cwd=self.folder, check=False)  # noqa: S603 (its own programs)
        if done.returncode:
            raise RuntimeError((self.folder / "commands").read_text(errors="replace")[-2000:])


@contextmanager
def run_server(
    settings: dict[str, str] | None = None,
    primary: PostgresServer | None = None,
    *,
    network: str | None = None,
    source: str | None = None,
) -> Iterator[PostgresServer]:
    """A server for the block, or a standby of another one; see :class:`PostgresServer`."""
    folder = Path(tempfile.mkdtemp(prefix="bandstand-pg-"))  # a socket's path must be short
    folder.chmod(0o755)
    try:
        server = PostgresServer(folder, settings, primary, network=network, source=source)
        server.start()
        try:
            yield server
        finally:
            with suppress(RuntimeError):  # it was killed
                server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _has_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True
