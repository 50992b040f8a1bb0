# docker build -t stride .                                    the service (the last stage)
# docker build -t stride-train --target train .               training; on CUDA: --build-arg TORCH_INDEX=
# ... --build-context wheels=FOLDER                           with a torch wheel of one's own, tried first

# CPU builds of torch: a fraction of the size. Empty: pip's default registry, which has the CUDA builds.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

FROM scratch AS wheels

FROM python:3.11-slim-bookworm AS base
ENV PATH=/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
RUN groupadd --gid 10001 stride && useradd --uid 10001 --gid 10001 --home-dir /app --shell /usr/sbin/nologin stride
WORKDIR /app

# What pyproject.toml asks for, before the source: a change of the source leaves these layers alone.
FROM python:3.11-slim-bookworm AS dependencies
ARG TORCH_INDEX
WORKDIR /src
RUN python -m venv /venv
COPY deploy/install_torch.py deploy/
COPY pyproject.toml ./
RUN --mount=type=bind,from=wheels,target=/wheels --mount=type=cache,target=/root/.cache/pip \
    /venv/bin/python deploy/install_torch.py --wheels /wheels --index "$TORCH_INDEX"
RUN --mount=type=cache,target=/root/.cache/pip \
    python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" > requirements.txt \
    && /venv/bin/pip install --quiet --disable-pip-version-check -r requirements.txt \
    && /venv/bin/pip check
COPY README.md LICENSE ./

FROM dependencies AS build
COPY service ./service
# Out with the installers, and with what only compiling and testing torch needs (it looks for torch_shm_manager).
RUN --mount=type=cache,target=/root/.cache/pip \
    /venv/bin/pip install --quiet --disable-pip-version-check --no-deps . \
    && cd /venv/lib/python3.11/site-packages/torch && rm -rf include share test \
    && find bin -type f ! -name torch_shm_manager -delete \
    && /venv/bin/pip uninstall --quiet --yes setuptools pip

FROM dependencies AS build-train
RUN --mount=type=bind,from=wheels,target=/wheels --mount=type=cache,target=/root/.cache/pip \
    /venv/bin/python deploy/install_torch.py --with-torchvision --wheels /wheels --index "$TORCH_INDEX"
RUN --mount=type=cache,target=/root/.cache/pip \
    python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['training'], sep='\n')" > requirements.txt \
    && /venv/bin/pip install --quiet --disable-pip-version-check -r requirements.txt \
    && /venv/bin/pip check
COPY training ./training
RUN --mount=type=cache,target=/root/.cache/pip \
    /venv/bin/pip install --quiet --disable-pip-version-check --no-deps .

FROM base AS train
COPY --from=build-train /venv /venv
USER 10001:10001
ENTRYPOINT ["python", "-m", "training"]
CMD ["--help"]

FROM base AS serve
COPY --from=build /venv /venv
# Compile what the base image left uncompiled and a read-only root never could; proves that the service imports.
RUN PYTHONDONTWRITEBYTECODE= python -c "import service.app, service.__main__"
COPY models ./models
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --start-interval=1s --retries=3 \
    CMD ["python", "-c", "import http.client as h; c = h.HTTPConnection('127.0.0.1', 8000, timeout=2); c.request('GET', '/health/ready'); raise SystemExit(c.getresponse().status != 200)"]
# The process itself is PID 1 and handles SIGTERM: it answers what it has accepted, then exits with 0.
CMD ["python", "-m", "service", "--host", "0.0.0.0", "--port", "8000"]
