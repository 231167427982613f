"""Several searches on one scale: fronts, hypervolumes, pictures."""
