"""From frame files to batches."""
