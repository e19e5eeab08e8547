"""The judge's worker: a durable queue of turns, judged in a child process."""
