"""State: the only code that touches disk or a database. Two engines behind one protocol, `embedded` and `postgres`."""
