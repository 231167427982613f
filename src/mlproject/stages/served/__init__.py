"""Stages that ask served models: about new rows with labels, and about recorded requests."""
