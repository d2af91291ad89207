"""Tests of app/catalog."""
