"""Readers of picture files, one kind each, and the conversion of colours; `pim.images.opener` is their door."""
