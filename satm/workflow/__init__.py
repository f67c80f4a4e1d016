"""Joins the library to the registry, the evaluations and the protocols, in the functions that a user calls.

The package `satm` offers these functions by name. Each folder is one job: `condense`, `evaluate`, `incremental` and
`exchange`.
"""
