"""What a device is called, by what its browser says of itself."""

import pytest

from app.accounts.user_agents import name_device


@pytest.mark.parametrize(
    ("agent", "english", "german"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0", "Firefox on Linux", "auf"),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0 "
            "Safari/537.36 Edg/142.0",
            "Edge on Windows",
            "auf",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
            "Version/19.0 Mobile/15E148 Safari/604.1",
            "Safari on iPhone",
            "auf",
        ),
        (
            "Mozilla/5.0 (Linux; Android 16) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0 Mobile Safari/537.36",
            "Chrome on Android",
            "auf",
        ),
        (
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/19.0 "
            "Safari/605.1.15",
            "Safari on macOS",
            "auf",
        ),
        ("curl/8.16.0", "curl", "curl"),
        ("<script>", "Unknown device", "Unbekanntes Gerät"),
        ("", "Unknown device", "Unbekanntes Gerät"),
    ],
)
def test_a_device_has_a_plain_name(agent: str, english: str, german: str) -> None:
    assert name_device(agent, "en") == english
    assert german in name_device(agent, "de")
