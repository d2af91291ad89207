"""The admin API: accounts, workspaces, jobs, mails and the audit trail."""
