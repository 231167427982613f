"""What a stage is given: addresses, models with their data, earlier results of the same inputs."""
