"""Side-by-side timing of exported models and PyTorch ones: latencies, and what loading a model costs."""
