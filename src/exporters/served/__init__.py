"""Served models from the outside: asked about rows with labels, and side by side about the same requests."""
