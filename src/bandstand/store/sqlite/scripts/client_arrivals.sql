-- Rewards that clients give are counted by whoever writes them, with the other sums of a group: a trigger a row took as long
-- as the row. Those of judges and persons, whose link is looked up at the insert, are counted as before. From this format on
-- `decisions.body` may be a Zstandard frame of the request.
DROP TRIGGER reward_arrived;

CREATE TRIGGER reward_arrived AFTER INSERT ON rewards WHEN NEW.source <> 'client' BEGIN
    INSERT INTO arrivals SELECT day, NEW.policy, NEW.source,
        CASE WHEN coalesce(NEW.decision_seq, NEW.linked_seq) IS NULL THEN -1 ELSE (SELECT bucket FROM delays
            WHERE below > NEW.ts - (coalesce(NEW.decision_seq, NEW.linked_seq) >> 20) / 1000.0 ORDER BY below LIMIT 1) END,
        1, NEW.value
        FROM (SELECT (coalesce(NEW.decision_seq, NEW.linked_seq, NEW.seq) >> 20) / 86400000 AS day UNION ALL SELECT -1)
        WHERE true ON CONFLICT DO UPDATE SET rewards = rewards + 1, reward_sum = reward_sum + excluded.reward_sum;
END;
