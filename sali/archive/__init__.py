"""Archives of recordings: segmented where workers are, from and to wherever fsspec reaches."""
