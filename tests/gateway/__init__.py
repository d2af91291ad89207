"""Tests of app/gateway, without a proxy before it."""
