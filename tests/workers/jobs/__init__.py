"""Tests of workers/jobs."""
