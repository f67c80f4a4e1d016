"""Joins the library to the registry, the evaluations and the protocols: what a user asks for, as functions.

`satm` offers them by name. One folder is one job: `condense`, `evaluate`, `incremental` and `exchange`.
"""
