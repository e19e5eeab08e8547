-- What people said of turns, found without a walk over what judges said.
CREATE INDEX conclusions_by_people ON conclusions (seq) WHERE cause = 'override';
