"""Who may go where: the one endpoint that the reverse proxy asks."""
