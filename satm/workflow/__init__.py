"""The functions that a user calls. They join the library to the registry, the evaluations and the protocols.

The package `satm` offers these functions by name. The larger tasks have a folder of their own, such as `condense`,
`evaluate`, `incremental` and `exchange`.
"""
