"""The console's own files, and Plotly's script out of its installed package: nothing is fetched from elsewhere."""

import gzip
import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from bandstand.errors import ConfigurationError

_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
_PLOTLY = "plotly.js"


@dataclass(frozen=True)
class Asset:
    """One file: its bytes, and the digest that is in its address, so that a browser may keep it for good."""

    name: str
    body: bytes = field(repr=False)

    @property
    def content_type(self) -> str:
        """What it is, for its header."""
        return _TYPES[Path(self.name).suffix]

    @cached_property
    def digest(self) -> str:
        """The first half of its SHA-256, in hexadecimal."""
        return hashlib.sha256(self.body).hexdigest()[:32]

    @cached_property
    def gzipped_body(self) -> bytes:
        """The same, by gzip: 0.3 s for Plotly's 4.8 MB, once."""
        return gzip.compress(self.body, 6, mtime=0)


class Assets:
    """All files by name; each is read when it is first asked for."""

    def __init__(self) -> None:
        self._paths = {Path(each.name).name: each for each in files("bandstand.console").joinpath("static").iterdir()}
        self._read: dict[str, Asset] = {}

    def get(self, name: str) -> Asset | None:
        """The file of that name."""
        if name not in self._read:
            if name != _PLOTLY and name not in self._paths:
                return None
            body = _read_plotly() if name == _PLOTLY else self._paths[name].read_bytes()
            self._read[name] = Asset(name, body)
        return self._read[name]

    def get_path(self, name: str) -> str:
        """Where the file is; another place as soon as it has changed."""
        asset = self.get(name)
        return f"/console/static/{name}" if asset is None else f"/console/static/{name}?v={asset.digest[:12]}"


def _read_plotly() -> bytes:
    found = find_spec("plotly")  # importing it would take a second that nobody needs to wait
    places = [] if found is None else found.submodule_search_locations or []
    for place in places:
        path = Path(place, "package_data", "plotly.min.js")
        if path.is_file():
            return path.read_bytes()
    raise ConfigurationError("Plotly's script is not where its package keeps it; install plotly again")
