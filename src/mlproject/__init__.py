"""The command line and the MLflow side. Translates options into calls of `compressor` and `exporters`, and results into runs."""
