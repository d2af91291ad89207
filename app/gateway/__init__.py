"""Who may send a request to which workspace: the endpoint that the reverse proxy asks."""
