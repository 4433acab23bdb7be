"""CORPUS -> SHARDS -> BATCHES. Knows no model."""
