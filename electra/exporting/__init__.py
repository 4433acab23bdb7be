"""CHECKPOINT -> ARTIFACT: export, quantize, measure, compare."""
