"""Super-networks of encoders: train one, search it, cut a sub-network out. Knows neither MLflow nor ONNX nor Click."""

__version__ = "0.1.0"
