"""The ledger's events as Parquet files, one a day: written here, read by evaluations and by whatever reads Parquet."""
