"""The API for admins: other people's accounts, workspaces, jobs, mails and the audit trail."""
