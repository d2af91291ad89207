"""What all HTTP endpoints share: problem documents, middleware, cookies, streams, paging."""
