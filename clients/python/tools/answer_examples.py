"""The example of each answer's docstring, in lines of Python; an expression is followed by ``# -> `` and its value."""

SCORE = 'decision = client.score("ada", ["tea", "coffee"])'
REWARD = 'client.score("ada", ["tea"]).reward(0.5).applied  # -> True'
TURN = 'turn = ("What now?", "Drink tea.", "Lovely, thank you!")'
JUDGED = 'judged = client.score("ada", ["tea"]).turn(*turn, wait=True)'
TASKS = 'tasks = [{"id": "rent", "title": "Pay the rent", "priority": 4}]'
RUN = 'run = client.start_simulation(["first-v1"], days=1, personas=1, seeds=1)'
FORGET = "client.delete_simulation(run.id)"
EVALUATION = 'run = client.start_evaluation(["first-v1"])'
FORGET_EVALUATION = "client.delete_evaluation(run.id)"

EXAMPLES: dict[str, list[str]] = {
    "UserStats": [REWARD, 'client.stats("ada").cumulative_reward  # -> 0.5'],
    "LoggedDecision": [SCORE, 'client.history("ada").history[0].decision_id == decision.id  # -> True'],
    "History": [SCORE, 'len(client.history("ada").history)  # -> 1'],
    "ConsideredCandidate": [
        SCORE,
        "[each.tip_id for each in decision.get_receipt().candidates]  # -> ['tea', 'coffee']",
    ],
    "FeatureContribution": [
        SCORE,
        "[each.explanation for each in decision.get_receipt().candidates]  # -> [None, None]",
    ],
    "CandidateExplanation": [SCORE, "client.receipt(decision.id).candidates[0].explanation is None  # -> True"],
    "LoggedReward": [
        SCORE,
        "decision.reward(0.5).applied  # -> True",
        "decision.get_receipt().reward.reward  # -> 0.5",
    ],
    "DecisionTurn": [SCORE, "decision.get_receipt().judgement is None  # -> True"],
    "TipSource": [SCORE, "decision.get_receipt().generation is None  # -> True"],
    "ShadowPick": [SCORE, "decision.get_receipt().shadows  # -> ()"],
    "Receipt": [SCORE, "decision.get_receipt().propensity == decision.propensity  # -> True"],
    "Activation": [SCORE, "client.activate(decision.id).activated  # -> True"],
    "HealthWarning": ["client.health().warnings  # -> ()"],
    "SharedLedgerHealth": ["client.health().ledger is None  # -> True"],
    "Health": ["client.health().active_policy  # -> 'linucb-v2'"],
    "Ready": ["client.ready().ready  # -> True"],
    "PolicyStats": [SCORE, 'client.deployment_stats().policies["linucb-v2"].decisions >= 1  # -> True'],
    "ExperimentArm": ["client.deployment_stats().experiment is None  # -> True"],
    "Experiment": ["client.deployment_stats().experiment is None  # -> True"],
    "Estimate": ["client.deployment_stats().shadows is None  # -> True"],
    "ShadowPolicy": ["client.deployment_stats().shadows is None  # -> True"],
    "GainOverTarget": [
        "[name for each in client.deployment_stats().gain.days for name in each.targets if not name]  # -> []"
    ],
    "GainOfSpan": [
        "set(client.deployment_stats().gain.policies) <= set(client.deployment_stats().policies)  # -> True"
    ],
    "GainOfDay": ["[each.since for each in client.deployment_stats().gain.days if not each.rewarded]  # -> []"],
    "GainReport": ['client.deployment_stats().gain.sentence.endswith(".")  # -> True'],
    "ArmResult": ["client.deployment_stats().holdout is None  # -> True"],
    "ReadoutDay": ["client.deployment_stats().holdout is None  # -> True"],
    "ArmsReadout": ["client.deployment_stats().holdout is None  # -> True"],
    "Holdout": ["client.deployment_stats().holdout is None  # -> True"],
    "JudgeSpending": ["client.deployment_stats().judge.today.tokens  # -> 0"],
    "TurnCoverage": [
        TURN,
        JUDGED,
        'client.deployment_stats().judge.policies["linucb-v2"].turns >= 1  # -> True',
    ],
    "JudgeCoverage": ["client.deployment_stats().judge.waiting >= 0  # -> True"],
    "Delays": [REWARD, "client.deployment_stats().loop.all.delay.p50 >= 0.0  # -> True"],
    "ExplorationCheck": [SCORE, "0.0 <= client.deployment_stats().loop.all.exploration.rate <= 1.0  # -> True"],
    "WeightCheck": [SCORE, "client.deployment_stats().loop.all.weight.mean > 0.0  # -> True"],
    "DrawCheck": [SCORE, "client.deployment_stats().loop.all.draws.freedom >= 0  # -> True"],
    "LoopCondition": [SCORE, "client.deployment_stats().loop.all.decisions >= 1  # -> True"],
    "LoopDrift": ["client.deployment_stats().loop.drift  # -> ()"],
    "LoopHealth": [SCORE, 'client.deployment_stats().loop.policies["linucb-v2"].decisions >= 1  # -> True'],
    "LoopDay": [SCORE, "client.deployment_stats().loop.days[0].all.decisions >= 1  # -> True"],
    "MemoryScore": ["[each.scores for each in client.deployment_stats().memory.values()]  # -> []"],
    "PolicyMemory": ["dict(client.deployment_stats().memory)  # -> {}"],
    "UnreadFeature": [
        SCORE,
        '[each.name for each in client.deployment_stats().features.unread if each.name == "id"]  # -> []',
    ],
    "ReadFeature": [
        SCORE,
        '{each.where for each in client.deployment_stats().features.fields} <= {"context", "features"}  # -> True',
    ],
    "PolicyContrast": [
        SCORE,
        "all(each.alike <= each.requests for each in client.deployment_stats().features.contrasts)  # -> True",
    ],
    "OpenTokens": ["client.deployment_stats().features.tokens  # -> ()"],
    "MetricAverage": [SCORE, 'sorted(client.deployment_stats().metrics) in ([], ["linucb-v2"])  # -> True'],
    "MetricStanding": [SCORE, 'sorted(client.deployment_stats().metrics) in ([], ["linucb-v2"])  # -> True'],
    "FeatureStats": [SCORE, "client.deployment_stats().features.requests >= 1  # -> True"],
    "DeploymentStats": [SCORE, "client.deployment_stats().users >= 1  # -> True"],
    "ActivePolicy": [
        'client.promote("thompson-v1").pinned_by is None  # -> True',
        "client.demote(\"thompson-v1\").active  # -> 'linucb-v2'",
    ],
    "PolicyChange": [
        "client.promote(\"thompson-v1\").active  # -> 'thompson-v1'",
        "client.policies().promotions[0].instead_of  # -> 'linucb-v2'",
        "client.demote(\"thompson-v1\").active  # -> 'linucb-v2'",
    ],
    "PolicyEntry": [
        "next(each for each in client.policies().policies if each.name == \"linucb-v1\").aliases  # -> ('linucb',)"
    ],
    "Policies": ["client.policies().pinned_by is None  # -> True"],
    "Ok": ['client.reset("ada").ok  # -> True'],
    "Erasure": [SCORE, 'client.erase("ada").erased["decisions"]  # -> 1'],
    "KnownUser": [SCORE, "client.users(prefix=\"ada\").users[0].user_id  # -> 'ada'"],
    "Users": [SCORE, 'client.users(prefix="ada").next is None  # -> True'],
    "PassedOver": ['client.revoke(client="nobody", dry_run=True).passed_over.forgotten  # -> 0'],
    "OutOfReach": ['client.revoke(client="nobody", dry_run=True).out_of_reach.users  # -> 0'],
    "Revocation": ['client.revoke(client="nobody", dry_run=True).rewards  # -> 0'],
    "RevocationSelection": [
        SCORE,
        "decision.reward(1.0).applied  # -> True",
        "client.revoke(decision_id=decision.id).rewards  # -> 1",
        "client.revocations().revocations[0].selection.decision_id == decision.id  # -> True",
    ],
    "RevocationRecord": [
        SCORE,
        "decision.reward(1.0).applied  # -> True",
        "client.revoke(decision_id=decision.id).rewards  # -> 1",
        "client.revocations().revocations[0].rewards  # -> 1",
    ],
    "ReactionTableUsed": ["client.reapply_reactions().table.name  # -> 'contract-v1'"],
    "ReactionsReapplied": ["client.reapply_reactions().revised  # -> 0"],
    "Revocations": ["len(client.revocations(limit=1).revocations) <= 1  # -> True"],
    "Tip": [TASKS, "client.generate(\"ada\", tasks, n=1).candidates[0].source  # -> 'template'"],
    "Generation": [TASKS, "client.generate(\"ada\", tasks, n=1).model  # -> 'template'"],
    "Recommendation": [TASKS, 'client.recommend("ada", tasks, n=1).propensity  # -> 1.0'],
    "PromptEntry": ["client.prompts().prompts[0].name  # -> 'generate'"],
    "BrokenPrompt": ["client.prompts().broken  # -> ()"],
    "PromptList": ["len(client.prompts().prompts) >= 1  # -> True"],
    "PromptText": ['len(client.prompt("generate", "v1").text) > 0  # -> True'],
    "PromptVersionStats": [
        TASKS,
        'made = client.generate("ada", tasks, n=1)',
        '"template" in {each.version for each in client.prompt_stats().versions}  # -> True',
    ],
    "PromptStats": ["client.prompt_stats().default == client.prompts().default  # -> True"],
    "TurnJudgement": ['client.judge("Remind me to call mum.", "Done. Anything else?", "no").withheld  # -> \'\''],
    "TurnJudgements": [
        'client.judge("Remind me to call mum.", "Done. Anything else?", "no").taxonomy  # -> \'followup-v1\''
    ],
    "FeedbackClassification": [
        'client.classify_feedback("No, that\'s wrong.", "Paris is in Italy.").kind  # -> \'explicit_rejection\''
    ],
    "Arbitration": ['client.arbitrate("home", "light, please").intent_id is None  # -> True'],
    "JudgementEntry": [TURN, JUDGED, "client.judgements(limit=1).judgements[0].tip_id  # -> 'tea'"],
    "JudgementStep": [TURN, JUDGED, "client.judgement(judged.judgement_id).history[0].cause  # -> 'judge'"],
    "Judgement": [TURN, JUDGED, "client.judgement(judged.judgement_id).status  # -> 'scored'"],
    "JudgementPage": ["len(client.judgements(limit=1).judgements) <= 1  # -> True"],
    "RetriedJudgements": ['client.retry_judgements(reason="timeout").left  # -> 0'],
    "ReappliedJudgements": ['client.reapply_judgements("2999-01-01T00:00:00+00:00").changed  # -> 0'],
    "RunProgress": [RUN, "client.simulation(run.id).progress.done <= run.progress.total  # -> True", FORGET],
    "Simulation": [RUN, 'run.plan["days"]  # -> 1', FORGET],
    "SimulationList": [RUN, "client.simulations().simulations[0].id == run.id  # -> True", FORGET],
    "SimulationResult": [RUN, "client.simulation(run.id).error is None  # -> True", FORGET],
    "Evaluation": [EVALUATION, "run.plan[\"policies\"]  # -> ['first-v1']", FORGET_EVALUATION],
    "EvaluationList": [
        EVALUATION,
        "client.evaluations().evaluations[0].id == run.id  # -> True",
        FORGET_EVALUATION,
    ],
    "EvaluationResult": [EVALUATION, "client.evaluation(run.id).id == run.id  # -> True", FORGET_EVALUATION],
}
