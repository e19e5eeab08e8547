"""An evaluation in parts that know nothing of each other: planned, mapped anywhere, and reduced to one answer."""
