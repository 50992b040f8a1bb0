"""STRIDE_* environment variables, read once into a frozen object."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

PREFIX = "STRIDE_"
DAY_S = 86_400
PositiveSeconds = Annotated[float, Field(gt=0, le=DAY_S)]


class Settings(BaseSettings):
    """Every setting of the service, each with a safe default; the README's table is made of these."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    models_dir: Path = Field(Path("models"), description="folder of artefacts, one `<name>.pt` a model")
    default_model: str | None = Field(
        None,
        description="model that answers when a request names none; unset: `cifar10-resnet` or first by name",
    )
    max_body_bytes: PositiveInt = Field(32 * 2**20, description="largest request body, bytes")
    max_buffered_bytes: PositiveInt = Field(
        256 * 2**20,
        description="most bytes of bodies in memory at once, and of untaken answers, in a process",
    )
    max_head_bytes: PositiveInt = Field(32 * 2**10, description="longest request line and headers, bytes")
    max_connections: PositiveInt = Field(
        4096, description="most open connections of a process; at more, those idle longest are closed"
    )
    max_pixels: PositiveInt = Field(25_000_000, description="largest picture, width × height")
    max_files: PositiveInt = Field(64, description="most pictures in one `/predict/batch`")
    max_cells: PositiveInt = Field(
        2**24, description="most cells of a matrix (padded image or output) in `/convolve` and `/pool`"
    )
    max_multiply_adds: PositiveInt = Field(4_000_000_000, description="most multiply-adds of one convolution")
    queue_length: PositiveInt = Field(
        256, description="most requests waiting for a thread or a model, in a process; more are answered 503"
    )
    queue_timeout_s: PositiveSeconds = Field(
        5.0, description="longest a request may wait for its turn, seconds; then it is not begun: 503"
    )
    batch_size: int = Field(32, ge=1, le=4096, description="most pictures the model is given at once")
    head_timeout_s: PositiveSeconds = Field(
        10.0, description="longest a request's head may take to arrive, seconds; then 408"
    )
    body_timeout_s: PositiveSeconds = Field(
        20.0, description="longest a body may take to arrive, and an answer stand still, seconds"
    )
    timeout_s: PositiveSeconds = Field(
        30.0, description="longest a request may take in all, seconds; longer is answered 503"
    )
    keep_alive_s: int = Field(75, ge=1, le=DAY_S, description="longest a connection may idle, whole seconds")
    drain_s: float = Field(
        2.0, ge=0, le=DAY_S, description="after SIGTERM: seconds to answer on while `/health/ready` says 503"
    )
    precision: Literal["auto", "float32"] = Field(
        "auto", description="`auto`: large models compute in bfloat16 where the processor multiplies it"
    )
    device: Literal["cpu", "cuda"] = Field(
        "cpu",
        description="where models classify: `cuda` is an NVIDIA GPU, for one process; the rest is the CPU's",
    )
    threads: int = Field(
        0, ge=0, description="CPU threads for inference and for decoding; 0: as many as cores"
    )
    watch_s: float = Field(
        0.0,
        ge=0,
        le=DAY_S,
        description="seconds between looks for changed model files; 0: on SIGHUP alone",
    )
    api_keys: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="keys that may call, comma-separated `name:sha256`; unset: anybody may"
    )
    api_keys_file: Path | None = Field(
        None, description="file of more such keys, one a line; read again when it changes"
    )
    rate_limit: str = Field(
        "", description="requests a key (or address) may make, as `100/minute`, in a process; empty: any"
    )
    docs: bool = Field(True, description="`false`: no `/docs`, no `/openapi.json`")
    metrics: bool = Field(True, description="`false`: no `/metrics`")
    tracing: bool = Field(
        False, description="`true`: OpenTelemetry spans, sent where `OTEL_EXPORTER_OTLP_ENDPOINT` says"
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="origins allowed to call from a browser, comma-separated; empty: none"
    )
    log_format: Literal["text", "json"] = Field("text", description="`text` or `json`, one line a request")

    @field_validator("cors_origins", "api_keys", mode="before")
    @classmethod
    def split_on_commas(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        parts = tuple(part.strip() for part in value.split(",") if part.strip())
        if value and not parts:  # meant to be something: for keys, not everybody
            raise ValueError("nothing between the commas")
        return parts

    @property
    def thread_count(self) -> int:
        """`threads`, or the cores this process may use."""
        return self.threads or usable_cores()


def usable_cores(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Count the cores of this process: those it may run on, or as many as its container's limit pays for.

    A limit (`docker run --cpus`) shows in the control group's files alone; more threads than it pays for
    are stopped for the rest of every tenth of a second, all at once.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for files in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):  # version 2, version 1
        try:
            quota, period = " ".join((cgroup / name).read_text() for name in files).split()
            if quota not in {"max", "-1"}:
                cores = min(cores, max(1, int(quota) // int(period)))
        except (OSError, ValueError, ZeroDivisionError):
            continue
    return cores


class SettingsError(Exception):
    """A STRIDE_ variable that is unknown or has an unusable value; the sentence names it."""


def load_settings(**overrides: Any) -> Settings:
    """Read the environment; `overrides` win. Raises SettingsError for an unknown name or a bad value."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
    if unknown:
        raise SettingsError(
            f"unknown setting {', '.join(unknown)}; the settings are {', '.join(sorted(known))}"
        )
    try:
        return Settings(**overrides)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = PREFIX + str(first["loc"][0]).upper()
        raise SettingsError(f"{name}={first['input']!r}: {first['msg']}") from None
