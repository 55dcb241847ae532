# avatarcli with its weights, for a CPU or an NVIDIA GPU, run as an ordinary user. docs/install.md says how to use it.
#   docker build -t avatarcli .                      for the CPU
#   docker build -t avatarcli:cuda --target cuda .   for a GPU; compiles gsplat's kernels, which takes a while
ARG PYTHON=3.12
ARG TORCH=2.13.0

FROM python:${PYTHON}-slim-trixie AS wheel
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY src src
COPY weights weights
COPY examples examples
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:${PYTHON}-slim-trixie AS base
# What MediaPipe links to. Versions are the distribution's: it does not keep older ones.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libegl1 libgles2 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 avatar \
    && mkdir /work \
    && chown avatar /work
# Compiled code is kept where any user may write (docker run --user).
ENV PYTHONUNBUFFERED=1 NUMBA_CACHE_DIR=/tmp/numba XDG_CACHE_HOME=/tmp/cache
WORKDIR /work
ENTRYPOINT ["avatar"]
CMD ["--help"]

# gsplat, compiled by the CUDA that PyPI's torch is built for. No GPU is needed for that.
FROM nvidia/cuda:13.0.1-devel-ubuntu24.04 AS gsplat
ARG TORCH
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3-dev python3-venv g++ \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv /build
RUN /build/bin/pip install --no-cache-dir torch==${TORCH} "numpy<3" "setuptools<82" wheel ninja packaging
# Turing to Blackwell; newer cards compile the last one for themselves.
ENV TORCH_CUDA_ARCH_LIST="7.5;8.0;8.6;8.9;9.0;10.0;12.0+PTX" MAX_JOBS=4
RUN /build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --no-binary gsplat --wheel-dir /wheels "gsplat>=1.5.3,<2"

FROM base AS cuda
ARG TORCH
RUN pip install --no-cache-dir torch==${TORCH}
RUN --mount=type=bind,from=gsplat,source=/wheels,target=/wheels pip install --no-cache-dir /wheels/*.whl
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    pip install --no-cache-dir "$(echo /wheels/avatarcli-*.whl)[gpu,speech,view]"
# What the container may use of the GPU: computing only.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 1000

FROM base AS cpu
ARG TORCH
RUN pip install --no-cache-dir torch==${TORCH} --index-url https://download.pytorch.org/whl/cpu
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    pip install --no-cache-dir "$(echo /wheels/avatarcli-*.whl)[speech,view]"
USER 1000
