"""Super-networks of encoders: train one, search its sub-networks, cut one out. Knows neither MLflow nor ONNX nor Click."""

__version__ = "0.1.0"
