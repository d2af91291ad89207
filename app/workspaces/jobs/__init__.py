"""Jobs that change workspaces: leases, outcomes, and how clients follow them."""
