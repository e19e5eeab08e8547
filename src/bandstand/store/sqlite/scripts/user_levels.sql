-- Whose a decision and a reward is, by user, in three levels. A row begins in the smallest, which is a few pages, and is moved
-- behind the commits, with many at once, to the next: an index over the table itself would have each row of a commit write a
-- page of its own. Whoever asks by user asks the views. What hangs on a row comes and goes with it, whoever writes.
CREATE TABLE user_decisions_new     (uid INTEGER, seq INTEGER, PRIMARY KEY (uid, seq)) WITHOUT ROWID;
CREATE TABLE user_decisions_recent  (uid INTEGER, seq INTEGER, PRIMARY KEY (uid, seq)) WITHOUT ROWID;
CREATE TABLE user_decisions_settled (uid INTEGER, seq INTEGER, PRIMARY KEY (uid, seq)) WITHOUT ROWID;
CREATE TABLE user_rewards_new       (uid INTEGER, seq INTEGER, PRIMARY KEY (uid, seq)) WITHOUT ROWID;
CREATE TABLE user_rewards_recent    (uid INTEGER, seq INTEGER, PRIMARY KEY (uid, seq)) WITHOUT ROWID;
CREATE TABLE user_rewards_settled   (uid INTEGER, seq INTEGER, PRIMARY KEY (uid, seq)) WITHOUT ROWID;

CREATE VIEW user_decisions AS SELECT uid, seq FROM user_decisions_settled
    UNION ALL SELECT uid, seq FROM user_decisions_recent UNION ALL SELECT uid, seq FROM user_decisions_new;
CREATE VIEW user_rewards AS SELECT uid, seq FROM user_rewards_settled
    UNION ALL SELECT uid, seq FROM user_rewards_recent UNION ALL SELECT uid, seq FROM user_rewards_new;

-- From one index to the other in its order: nothing is sorted, and no page is written twice.
INSERT INTO user_decisions_settled (uid, seq) SELECT uid, seq FROM decisions INDEXED BY decisions_by_user ORDER BY uid, seq;
INSERT INTO user_rewards_settled (uid, seq) SELECT uid, seq FROM rewards INDEXED BY rewards_by_user ORDER BY uid, seq;
DROP INDEX decisions_by_user;
DROP INDEX rewards_by_user;

CREATE TRIGGER decision_is_of_user AFTER INSERT ON decisions BEGIN
    INSERT INTO user_decisions_new (uid, seq) VALUES (NEW.uid, NEW.seq);
END;
CREATE TRIGGER reward_is_of_user AFTER INSERT ON rewards BEGIN
    INSERT INTO user_rewards_new (uid, seq) VALUES (NEW.uid, NEW.seq);
END;
CREATE TRIGGER decision_of_user_deleted AFTER DELETE ON decisions BEGIN
    DELETE FROM user_decisions_new WHERE uid = OLD.uid AND seq = OLD.seq;
    DELETE FROM user_decisions_recent WHERE uid = OLD.uid AND seq = OLD.seq;
    DELETE FROM user_decisions_settled WHERE uid = OLD.uid AND seq = OLD.seq;
END;
CREATE TRIGGER reward_of_user_deleted AFTER DELETE ON rewards BEGIN
    DELETE FROM user_rewards_new WHERE uid = OLD.uid AND seq = OLD.seq;
    DELETE FROM user_rewards_recent WHERE uid = OLD.uid AND seq = OLD.seq;
    DELETE FROM user_rewards_settled WHERE uid = OLD.uid AND seq = OLD.seq;
END;
