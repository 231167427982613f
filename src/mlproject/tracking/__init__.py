"""Logging to MLflow that no outage loses: results first, then entries on disk, then the wire."""
