"""BATCH -> LOSS; weights <-> disk."""
