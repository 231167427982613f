"""The search for sub-networks, over shared weights or each trained alone."""
