"""Imports sets from other people's files into the registry, and exports sets of the registry as such files."""
