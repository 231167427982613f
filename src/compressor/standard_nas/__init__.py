"""Standard NAS: sub-networks trained one by one, each in a process of its own; the baseline of weight sharing."""
