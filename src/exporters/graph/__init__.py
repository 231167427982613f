"""ONNX graphs of encoders: exported, verified against PyTorch, quantized, run, and laid out as other tools expect."""
