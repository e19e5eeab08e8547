"""Reference implementations and scripted servers for tests and benchmarks; nothing that serves imports them."""
