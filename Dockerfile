# All commands on CPUs: on one machine, as Ray workers, under torchrun, as MLflow's Docker and Kubernetes projects
# (docs/more-machines.md). The wheel alone is installed.
#   docker build -t compressor:1 .
#   docker build --build-arg EXTRAS=ray,openvino -t compressor:1-ray .
ARG PYTHON_IMAGE=python:3.11.13-slim-bookworm

FROM ${PYTHON_IMAGE} AS wheel
ENV PIP_NO_CACHE_DIR=1
WORKDIR /source
RUN pip install --no-cache-dir "build>=1.2,<2"
COPY LICENSE README.md pyproject.toml setup.cfg ./
COPY src src
RUN python -m build --wheel --outdir /wheels

FROM ${PYTHON_IMAGE} AS packages
# Extras of setup.cfg, with commas; PyTorch's builds without CUDA, which are a tenth of the others
ARG EXTRAS=""
ARG TORCH_INDEX="https://download.pytorch.org/whl/cpu"
COPY --from=wheel /wheels /wheels
RUN python -m venv /opt/compressor \
    && /opt/compressor/bin/pip install --no-cache-dir --extra-index-url "${TORCH_INDEX}" \
        "$(echo /wheels/*.whl)${EXTRAS:+[${EXTRAS}]}"

FROM ${PYTHON_IMAGE}
# KubeRay's probes ask with wget; MLflow tags runs with the commit of a checkout by git
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git wget \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 compressor
COPY --from=packages /opt/compressor /opt/compressor
ENV PATH=/opt/compressor/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    MLFLOW_DISABLE_TELEMETRY=true \
    ORT_DISABLE_TELEMETRY=1 \
    RAY_USAGE_STATS_ENABLED=0
USER compressor
WORKDIR /home/compressor
# No entry point: MLflow and Kubernetes give the whole command
CMD ["compressor", "--help"]
