"""Training a super-network, and what follows a cut: repair and distillation."""
