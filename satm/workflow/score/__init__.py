"""Scores of a stored set besides plain accuracy."""
