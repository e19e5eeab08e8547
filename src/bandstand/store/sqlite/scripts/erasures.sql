-- Erasures that have begun: their users are gone, and what hangs on their keys is deleted in small transactions. A row
-- goes with the last of it, so that an erasure whose process died is finished by the next one.
CREATE TABLE erasures (
    uid       INTEGER PRIMARY KEY,
    user_hash BLOB NOT NULL           -- that of the tombstone
);
