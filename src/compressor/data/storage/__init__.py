"""How many rows are kept: texts in Arrow's memory, tokens in files that are mapped; no Python object for a row."""
