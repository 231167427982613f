"""Super-networks of encoders: train one, search it, cut a sub-network out. Knows neither MLflow nor ONNX nor Click.

Importing it makes transformers' Auto classes know sliced models. The command line imports it too, and has to answer
`--help` before PyTorch is loaded; there they are registered when the first model is.
"""

import sys

__version__ = "0.1.0"

if "mlproject" not in sys.modules:
    from compressor.network.modeling_sliced import register

    register()
