-- What a reward adds to the sums of prompts, shadows and arrivals is added by whoever writes it, in the same commit and only
-- where there is something to add to: the triggers took a fourth of the row's time where there was nothing. Those that take
-- back (of revocations and deletions) stay.
DROP TRIGGER reward_added;
DROP TRIGGER reward_arrived;
DROP TRIGGER shadowed_decision_rewarded;
