"""Fine-tuning: task files + checkpoint -> fine-tuned model and scores."""
