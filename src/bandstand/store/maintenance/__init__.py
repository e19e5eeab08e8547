"""Work on a state directory that no service uses: rebuild, verify, backup, export, import."""
