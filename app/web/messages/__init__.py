"""Texts of the pages in each language."""
