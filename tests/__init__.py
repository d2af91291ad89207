"""Tests mirror app, workers and deploy."""
