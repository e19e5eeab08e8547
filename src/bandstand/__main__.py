"""``python -m bandstand`` is the ``bandstand`` command."""

from bandstand.cli import main

main()
