-- What was chosen in a turn and what it is meant to do, where the caller says so; it goes with the turn's words.
ALTER TABLE turns ADD COLUMN about TEXT NOT NULL DEFAULT '';
