"""The files of the pages: all of them ours to serve, kept by browsers for as long as they are the same."""

import gzip
import re
from importlib.resources import files

from bandstand.console.assets import Assets
from tests.console.given import Person

TEMPLATES = files("bandstand.console").joinpath("templates")


def test_every_file_a_template_asks_for_is_there() -> None:
    assets = Assets()
    asked = {
        name
        for template in TEMPLATES.iterdir()
        for name in re.findall(r"asset\('([^']+)'\)", template.read_text(encoding="utf-8"))
    }
    assert {"console.css", "plotly.js", "figures.js", "progress.js"} <= asked
    for name in asked:
        asset = assets.get(name)
        assert asset is not None, name
        assert assets.get_path(name).endswith(asset.digest[:12])


async def test_a_file_is_served_packed_or_not_and_kept_for_good(person: Person) -> None:
    get = person.client.get
    plain = await get("/console/static/plotly.js", headers={"accept-encoding": "identity"})
    assert plain.status_code == 200
    assert plain.headers["content-type"] == "text/javascript; charset=utf-8"
    assert "content-encoding" not in plain.headers
    assert len(plain.content) > 1_000_000
    packed = await get("/console/static/plotly.js", headers={"accept-encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.content == plain.content
    assert int(packed.headers["content-length"]) < len(plain.content) // 2
    assert "immutable" in plain.headers["cache-control"]
    same = await get("/console/static/plotly.js", headers={"if-none-match": plain.headers["etag"]})
    assert (same.status_code, same.content) == (304, b"")


async def test_no_other_file_is_served(person: Person) -> None:
    for name in ("nothing.js", "..%2Fpages.py", "%2Fetc%2Fpasswd", "__init__.py", "base.html"):
        assert (await person.open(f"/static/{name}")).status == 404, name


def test_a_file_is_packed_the_same_each_time() -> None:
    one, other = Assets().get("console.css"), Assets().get("console.css")
    assert one is not None
    assert other is not None
    assert one.gzipped_body == other.gzipped_body
    assert gzip.decompress(one.gzipped_body) == one.body
