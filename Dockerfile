# docker build -t stride .                                    the service (the last stage), on CPUs
# docker build -t stride --build-arg VARIANT=cuda .           with the CUDA build of torch
# docker build -t stride --build-arg EXTRA=tracing .          with an extra of pyproject.toml: tracing, cluster
# docker build -t stride-train --target train .               training; also with VARIANT=cuda
# ... --build-context wheels=FOLDER                           the CPU torch from a wheel in this folder, its hash as pinned
#
# Every package is pinned by its SHA-256 in deploy/requirements (`make lock`).

# cpu: a fraction of the size, from the index of CPU builds. cuda: pip's default registry.
ARG VARIANT=cpu
ARG EXTRA=serve
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

FROM scratch AS wheels

FROM python:3.11-slim-bookworm AS base
ENV PATH=/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
RUN groupadd --gid 10001 stride && useradd --uid 10001 --gid 10001 --home-dir /app --shell /usr/sbin/nologin stride
# The base image's installers have no work here; nobody is to find them either.
RUN rm -rf /usr/local/lib/python3.*/ensurepip /usr/local/lib/python3.*/site-packages/* \
    /usr/local/bin/pip* /usr/local/bin/wheel
WORKDIR /app

# Torch alone: a change of what else is needed, or of the source, leaves this layer alone.
FROM python:3.11-slim-bookworm AS torch
ARG VARIANT
ARG TORCH_INDEX
RUN apt-get update -qq \
    && apt-get install --yes -qq --no-install-recommends binutils \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
RUN python -m venv --without-pip /venv
ENV PYTHONDONTWRITEBYTECODE=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_PYTHON=/venv/bin/python \
    PIP_QUIET=1 \
    PINNED="--no-compile --only-binary=:all: --require-hashes"
COPY deploy/requirements/torch-${VARIANT}.txt ./
RUN --mount=type=bind,from=wheels,target=/wheels --mount=type=cache,target=/root/.cache/pip \
    set --; [ "$VARIANT" != cpu ] || set -- --index-url "$TORCH_INDEX"; \
    [ "$VARIANT" != cpu ] || [ ! "$(find /wheels -name 'torch-*.whl')" ] || set -- --no-index --find-links /wheels; \
    pip install $PINNED --no-deps "$@" -r "torch-$VARIANT.txt"

FROM torch AS build
ARG EXTRA
COPY deploy/requirements/${EXTRA}.txt ./
RUN --mount=type=cache,target=/root/.cache/pip pip install $PINNED -r "$EXTRA.txt" && pip check
COPY deploy/slim_image.py deploy/
RUN python deploy/slim_image.py /venv
COPY pyproject.toml README.md LICENSE ./
COPY service ./service
# Built by the setuptools that is pinned, which then goes.
RUN pip install --no-compile --no-deps --no-build-isolation . \
    && pip uninstall --yes setuptools

FROM torch AS build-train
ARG VARIANT
ARG TORCH_INDEX
COPY deploy/requirements/train.txt deploy/requirements/torchvision-${VARIANT}.txt ./
RUN --mount=type=bind,from=wheels,target=/wheels --mount=type=cache,target=/root/.cache/pip \
    set --; [ "$VARIANT" != cpu ] || set -- --index-url "$TORCH_INDEX"; \
    pip install $PINNED --no-deps --find-links /wheels "$@" -r "torchvision-$VARIANT.txt" \
    && pip install $PINNED -r train.txt && pip check
COPY deploy/slim_image.py deploy/
RUN python deploy/slim_image.py /venv
COPY pyproject.toml README.md LICENSE ./
COPY training ./training
RUN pip install --no-compile --no-deps --no-build-isolation .

FROM base AS train
COPY --from=build-train /venv /venv
USER 10001:10001
ENTRYPOINT ["python", "-m", "training"]
CMD ["--help"]

FROM base AS serve
COPY --from=build /venv /venv
# Here, for Python's own modules too, which the base image leaves uncompiled; proves that the service imports.
RUN --mount=type=bind,source=deploy/compile_imported.py,target=/compile_imported.py \
    python /compile_imported.py
COPY models ./models
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --start-interval=1s --retries=3 \
    CMD ["python", "-c", "import http.client as h; c = h.HTTPConnection('127.0.0.1', 8000, timeout=2); c.request('GET', '/health/ready'); raise SystemExit(c.getresponse().status != 200)"]
# The process itself is PID 1 and handles SIGTERM: it answers what it has accepted, then exits with 0.
CMD ["python", "-m", "service", "--host", "0.0.0.0", "--port", "8000"]
