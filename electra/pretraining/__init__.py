"""Pre-training: settings -> objective and batches; dry run; evaluation."""
