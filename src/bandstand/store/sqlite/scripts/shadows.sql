-- What a policy in the shadow would have done with a decision of another. Which policies are in the shadow is a mark that
-- names no user (kind 'shadow', document: their row ids); it holds for all events after it.
CREATE TABLE shadows (
    decision      INTEGER NOT NULL,
    policy        INTEGER NOT NULL,
    pick          INTEGER NOT NULL,   -- drawn by the decision's own seed
    exploring     INTEGER NOT NULL,
    agrees        INTEGER NOT NULL,   -- it is the pick that was served
    propensity    REAL NOT NULL,      -- of its own pick
    weight        REAL NOT NULL,      -- its probability of the served pick, over the one that pick was drawn with
    probabilities BLOB NOT NULL,      -- float64, (K,)
    reward        REAL,               -- that stands for the decision
    PRIMARY KEY (decision, policy)
) WITHOUT ROWID;

-- The reward that stands for each decision: one that names it is surer than a link.
CREATE VIEW standing AS SELECT d.seq AS decision, coalesce(
    (SELECT value FROM rewards AS r WHERE r.decision_seq = d.seq
        AND NOT EXISTS (SELECT 1 FROM revocations AS v WHERE v.reward_seq = r.seq)),
    (SELECT value FROM rewards AS r WHERE r.linked_seq = d.seq
        AND NOT EXISTS (SELECT 1 FROM revocations AS v WHERE v.reward_seq = r.seq) ORDER BY r.seq DESC LIMIT 1)
    ) AS reward FROM decisions AS d;

CREATE TRIGGER shadowed_decision_rewarded AFTER INSERT ON rewards BEGIN
    UPDATE shadows SET reward = (SELECT reward FROM standing WHERE decision = shadows.decision)
        WHERE decision = coalesce(NEW.decision_seq, NEW.linked_seq);
END;

CREATE TRIGGER shadowed_reward_revoked AFTER INSERT ON revocations BEGIN
    UPDATE shadows SET reward = (SELECT reward FROM standing WHERE decision = shadows.decision)
        WHERE decision = (SELECT coalesce(decision_seq, linked_seq) FROM rewards WHERE seq = NEW.reward_seq);
END;

CREATE TRIGGER shadowed_decision_gone AFTER DELETE ON decisions BEGIN
    DELETE FROM shadows WHERE decision = OLD.seq;
END;

-- Moments of the weights w and the rewards r, of each policy in the shadow, for its estimates. They name nobody, and so
-- outlive erasure and retention.
CREATE TABLE shadow_sums (
    policy    INTEGER PRIMARY KEY,
    decisions INTEGER NOT NULL,
    agreed    INTEGER NOT NULL,
    rewarded  INTEGER NOT NULL,       -- decisions with a reward that stands; the rest is over these
    r         REAL NOT NULL,
    rr        REAL NOT NULL,
    w         REAL NOT NULL,
    ww        REAL NOT NULL,
    wr        REAL NOT NULL,
    wwr       REAL NOT NULL,
    wrr       REAL NOT NULL,
    wwrr      REAL NOT NULL
);

CREATE TRIGGER shadow_added AFTER INSERT ON shadows BEGIN
    INSERT OR IGNORE INTO shadow_sums VALUES (NEW.policy, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    UPDATE shadow_sums SET decisions = decisions + 1, agreed = agreed + NEW.agrees WHERE policy = NEW.policy;
    UPDATE shadows SET reward = (SELECT reward FROM standing WHERE decision = NEW.decision)
        WHERE decision = NEW.decision AND policy = NEW.policy;
END;

CREATE TRIGGER shadow_rewarded AFTER UPDATE OF reward ON shadows WHEN OLD.reward IS NOT NULL BEGIN
    UPDATE shadow_sums SET rewarded = rewarded - 1, r = r - OLD.reward, rr = rr - OLD.reward * OLD.reward,
        w = w - OLD.weight, ww = ww - OLD.weight * OLD.weight, wr = wr - OLD.weight * OLD.reward,
        wwr = wwr - OLD.weight * OLD.weight * OLD.reward, wrr = wrr - OLD.weight * OLD.reward * OLD.reward,
        wwrr = wwrr - OLD.weight * OLD.weight * OLD.reward * OLD.reward WHERE policy = OLD.policy;
END;

CREATE TRIGGER shadow_rewarded_anew AFTER UPDATE OF reward ON shadows WHEN NEW.reward IS NOT NULL BEGIN
    UPDATE shadow_sums SET rewarded = rewarded + 1, r = r + NEW.reward, rr = rr + NEW.reward * NEW.reward,
        w = w + NEW.weight, ww = ww + NEW.weight * NEW.weight, wr = wr + NEW.weight * NEW.reward,
        wwr = wwr + NEW.weight * NEW.weight * NEW.reward, wrr = wrr + NEW.weight * NEW.reward * NEW.reward,
        wwrr = wwrr + NEW.weight * NEW.weight * NEW.reward * NEW.reward WHERE policy = NEW.policy;
END;
