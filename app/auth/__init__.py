"""Sign-in: links, codes, invitations, and the launch after a sign-in."""
