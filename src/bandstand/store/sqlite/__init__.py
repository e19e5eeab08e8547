"""The ledger's file: schema, writer, write-ahead log, retention, ownership."""
