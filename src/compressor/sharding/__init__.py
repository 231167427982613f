"""Evaluating sub-networks on several machines: whole batches are shared out, logits come back to one process."""
