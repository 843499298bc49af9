"""Forced choices of one's own raters: asked in the browser, kept in one file, reported and exported."""
