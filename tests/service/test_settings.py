"""Settings come from STRIDE_* alone, and a typo is not ignored."""

from pathlib import Path

import pytest

from service.settings import Settings, SettingsError, load_settings, usable_cores


def test_the_environment_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIDE_MAX_PIXELS", "1000")
    monkeypatch.setenv("STRIDE_CORS_ORIGINS", "https://a.example, https://b.example")
    settings = load_settings()
    assert settings.max_pixels == 1000
    assert settings.cors_origins == ("https://a.example", "https://b.example")
    assert settings.thread_count >= 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STRIDE_MAX_PIXEL", "1000"),
        ("STRIDE_MAX_PIXELS", "many"),
        ("STRIDE_MAX_PIXELS", "-1"),
        ("STRIDE_THREADS", "-1"),
        ("STRIDE_TIMEOUT_S", "0"),
        ("STRIDE_LOG_FORMAT", "xml"),
    ],
)
def test_a_typo_or_a_bad_value_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"{name}\\b"):
        load_settings()


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().max_pixels = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"cpu.max": "150000 100000\n"}, 1),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "6400000 100000\n"}, 64),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
)
def test_threads_follow_the_limit_of_a_container(
    files: dict[str, str], limit: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert usable_cores(tmp_path) == min(limit or 8, 8)
