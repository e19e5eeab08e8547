"""``python -m bandstand.llm.scripted_server``: the name by which the scripted model server has been started so far."""

from bandstand.testing.scripted_llm_server import main

if __name__ == "__main__":
    main()
