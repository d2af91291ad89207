"""Shared by all HTTP endpoints: problem documents, middleware, cookies, streams, paging."""
