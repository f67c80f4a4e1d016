"""Sets from other people's files, and sets of the registry as such files."""
