"""Mail: messages and their delivery."""
