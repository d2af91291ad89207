"""Foundations of every package: settings, database, queue, clock, logging, languages, errors."""
