"""How well metrics agree with people: statistics, runs, tables, reports."""

if __name__ != "pim.eval":
    raise ImportError(f"this folder is the package pim.eval, imported here as {__name__!r}")
