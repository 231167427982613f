"""The command line and the MLflow side: options become calls of `compressor` and `exporters`, results become runs."""
