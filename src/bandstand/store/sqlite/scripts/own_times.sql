-- The day of a decision and the delay of its reward are of their own times. A number tells the time only while no clock has
-- been ahead and set back: it stands in where retention has taken the decision.
DROP TRIGGER reward_arrived;
DROP TRIGGER reward_revoked;

CREATE TRIGGER reward_arrived AFTER INSERT ON rewards WHEN NEW.source <> 'client' BEGIN
    INSERT INTO arrivals SELECT CASE ever WHEN 1 THEN -1 ELSE CAST(coalesce(decided, NEW.ts) / 86400.0 AS INTEGER) END,
        NEW.policy, NEW.source,
        CASE WHEN decided IS NULL THEN -1
            ELSE (SELECT bucket FROM delays WHERE below > max(0.0, NEW.ts - decided) ORDER BY below LIMIT 1) END,
        1, NEW.value
        FROM (SELECT 0 AS ever UNION ALL SELECT 1) CROSS JOIN (
            SELECT coalesce((SELECT ts FROM decisions WHERE seq = coalesce(NEW.decision_seq, NEW.linked_seq)),
                (coalesce(NEW.decision_seq, NEW.linked_seq) >> 20) / 1000.0) AS decided)
        WHERE true ON CONFLICT DO UPDATE SET rewards = rewards + 1, reward_sum = reward_sum + excluded.reward_sum;
END;

CREATE TRIGGER reward_revoked AFTER INSERT ON revocations BEGIN
    UPDATE arrivals SET rewards = rewards - 1, reward_sum = reward_sum - r.value
        FROM (SELECT policy, source, value, ts, coalesce((SELECT ts FROM decisions WHERE seq = coalesce(decision_seq, linked_seq)),
                (coalesce(decision_seq, linked_seq) >> 20) / 1000.0) AS decided
            FROM rewards WHERE seq = NEW.reward_seq) AS r
        WHERE arrivals.day IN (-1, CAST(coalesce(r.decided, r.ts) / 86400.0 AS INTEGER))
        AND arrivals.policy = r.policy AND arrivals.source = r.source AND arrivals.bucket =
        CASE WHEN r.decided IS NULL THEN -1
            ELSE (SELECT bucket FROM delays WHERE below > max(0.0, r.ts - r.decided) ORDER BY below LIMIT 1) END;
END;
