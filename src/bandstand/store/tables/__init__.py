"""The ledger's tables: the records of each, and the queries over them."""
