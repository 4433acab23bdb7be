"""Tasks: files -> examples -> features -> predictions -> scores."""
