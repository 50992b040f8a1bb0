"""Settings come from STRIDE_* alone, and a typo is not ignored."""

import pytest

from service.settings import Settings, SettingsError, load_settings


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
