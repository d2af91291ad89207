"""Tests of workers/loops."""
