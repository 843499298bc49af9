"""Readers of data sets: each yields typed records, checks its manifest first, decodes lazily."""

if __name__ != "pim.datasets":
    raise ImportError(f"this folder is the package pim.datasets, imported here as {__name__!r}")
