"""State: the only code that touches disk or a database. Two stores behind one protocol, `memory` and `embedded`."""
