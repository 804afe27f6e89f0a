"""Parallel sentences: read, checked and chosen; what a language code says."""
