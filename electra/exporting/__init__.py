"""CHECKPOINT -> ARTEFACT: export, quantize, measure, compare."""
