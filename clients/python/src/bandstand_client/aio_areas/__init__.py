"""The calls that are not made all day, by what they are about; ``areas`` holds the same for threads.

Written by ``tools/generate_client.py`` from ``areas``.
"""
