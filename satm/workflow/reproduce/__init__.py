"""Reproduces a study: makes the sets that its cells need, judges them, and says which claims hold."""
