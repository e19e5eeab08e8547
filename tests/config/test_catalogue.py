"""The catalogue: what ships, and what a deployment's file adds."""

from pathlib import Path

from bandstand.config.catalogue import load_catalogue
from bandstand.config.settings import Settings

OWN = '[policies.own-v1]\nkind = "linucb"\nschema = "tips-v2"\n'


def test_a_byte_order_mark_is_no_part_of_a_deployment_s_file(tmp_path: Path) -> None:
    for mark in (b"", b"\xef\xbb\xbf"):
        path = tmp_path / "bandstand.toml"
        path.write_bytes(mark + OWN.encode())
        assert "own-v1" in load_catalogue(Settings(bandstand_config=path)).policies
