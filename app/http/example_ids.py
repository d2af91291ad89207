"""Example ids for OpenAPI."""

JOB_ID = "7b0c3c0e-6a44-4c7e-9f0e-1f6f6d3f0a11"
SHARE_ID = "a4f0c9de-0c5d-4a0e-9a57-1f1e6f0d2b33"
WORKSPACE_ID = "e8d7c6b5-4a39-4281-9f70-1c2b3a4d5e6f"
