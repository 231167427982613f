"""Tasks, their rows, labels and metrics, and rows as batches."""
