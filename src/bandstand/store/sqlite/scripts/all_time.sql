-- Sums of all time (hour -1 of rollups, day -1 of draws and arrivals) for ledgers that were made without them, or that were
-- used before they got them: each is made again from its hours or days, of which none is ever taken away.
DELETE FROM rollups WHERE hour = -1;
INSERT INTO rollups SELECT -1, policy, sum(decisions), sum(explores), sum(rewards), sum(reward_sum)
    FROM rollups GROUP BY policy;

DELETE FROM draws WHERE day = -1;
INSERT INTO draws SELECT -1, policy, bin, sum(decisions), sum(explores), sum(floor), sum(floor_variance), sum(picked),
    sum(likeliest), sum(variance), sum(weight), sum(weight_squares), sum(support) FROM draws GROUP BY policy, bin;

DELETE FROM arrivals WHERE day = -1;
INSERT INTO arrivals SELECT -1, policy, source, bucket, sum(rewards), sum(reward_sum)
    FROM arrivals GROUP BY policy, source, bucket;

-- Whatever adds a reward or takes one back is counted, in its day and in the sum of all days, and never twice. Ledgers of
-- formats 4 to 6 may have triggers of these names that count the day alone.
DROP TRIGGER IF EXISTS reward_arrived;
DROP TRIGGER IF EXISTS reward_revoked;

CREATE TRIGGER reward_arrived AFTER INSERT ON rewards BEGIN
    INSERT INTO arrivals SELECT day, NEW.policy, NEW.source,
        CASE WHEN coalesce(NEW.decision_seq, NEW.linked_seq) IS NULL THEN -1 ELSE (SELECT bucket FROM delays
            WHERE below > NEW.ts - (coalesce(NEW.decision_seq, NEW.linked_seq) >> 20) / 1000.0 ORDER BY below LIMIT 1) END,
        1, NEW.value
        FROM (SELECT (coalesce(NEW.decision_seq, NEW.linked_seq, NEW.seq) >> 20) / 86400000 AS day UNION ALL SELECT -1)
        WHERE true ON CONFLICT DO UPDATE SET rewards = rewards + 1, reward_sum = reward_sum + excluded.reward_sum;
END;

CREATE TRIGGER reward_revoked AFTER INSERT ON revocations BEGIN
    UPDATE arrivals SET rewards = rewards - 1, reward_sum = reward_sum - r.value
        FROM rewards AS r WHERE r.seq = NEW.reward_seq
        AND arrivals.day IN (-1, (coalesce(r.decision_seq, r.linked_seq, r.seq) >> 20) / 86400000)
        AND arrivals.policy = r.policy AND arrivals.source = r.source AND arrivals.bucket =
        CASE WHEN coalesce(r.decision_seq, r.linked_seq) IS NULL THEN -1 ELSE (SELECT bucket FROM delays
            WHERE below > r.ts - (coalesce(r.decision_seq, r.linked_seq) >> 20) / 1000.0 ORDER BY below LIMIT 1) END;
END;

-- Records of undos name a user where one decision's reward was meant.
CREATE INDEX IF NOT EXISTS marks_of_undos ON marks (seq) WHERE kind = 'revocation';
