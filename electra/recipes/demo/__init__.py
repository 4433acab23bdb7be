"""The demo: raw text to a fine-tuned model and a report."""
