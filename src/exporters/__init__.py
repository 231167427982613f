"""What leaves the project: ONNX models proven equal to their PyTorch form, and honest latencies."""
