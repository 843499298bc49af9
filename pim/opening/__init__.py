"""Readers of picture files, one kind each, and the conversion of colours; `pim.image` is their door."""
