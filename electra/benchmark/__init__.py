"""Models and their artifacts measured by one method: accuracy, latency, size."""
