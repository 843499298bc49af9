"""Experiments of the papers, each in one command: what was claimed, what comes out here."""
