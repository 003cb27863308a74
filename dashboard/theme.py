"""This file knows how Streamlit is set up: quiet colours in light and dark, nothing sent outside, nothing developed."""

from typing import Any

from dashboard.settings import DashboardSettings

# Alarm colours are used for nothing but alarms; the blue is for cursors and focus. All reach 4.5:1 against the ground
# as text, except the yellow, which never stands without shape, letter and word. Priorities differ in lightness, so that
# they are told apart by whoever sees no red and green too.
LIGHT = {
    "primaryColor": "#3d5a80", "backgroundColor": "#f7f7f5", "secondaryBackgroundColor": "#e9e9e5",
    "textColor": "#22252a", "borderColor": "#d3d3cd", "redColor": "#a50d18", "orangeColor": "#ad4700",
    "yellowColor": "#b07c00", "blueColor": "#1f5fa8", "violetColor": "#5442b8", "grayColor": "#636870",
    "greenColor": "#636870",
}  # fmt: skip
DARK = {
    "primaryColor": "#8fb0d8", "backgroundColor": "#17191c", "secondaryBackgroundColor": "#24272c",
    "textColor": "#e3e4e6", "borderColor": "#3b3f46", "redColor": "#ff6b6b", "orangeColor": "#ff9f45",
    "yellowColor": "#f8d84a", "blueColor": "#6cb0ff", "violetColor": "#a394ff", "grayColor": "#9ca0a8",
    "greenColor": "#9ca0a8",
}  # fmt: skip
PAGE_STYLE = """<style>
[data-testid^="stBaseButton-primary"], [data-baseweb="tag"] { color: light-dark(#ffffff, #17191c); }
[data-testid="stHtml"] a { color: inherit; text-underline-offset: 2px; }
[data-testid="stMarkdownContainer"] table { display: block; max-width: 100%; overflow-x: auto; }
@media (pointer: coarse) { [data-testid="stElementToolbar"] { display: none; } }
</style>"""
"""What options do not reach: Streamlit writes white on the primary colour, a light one in the dark scheme; a browser's
own colours of links come near those of alarms; a wide table pushes a narrow page aside; and without a pointer that
leaves, a table's tools cover what stands above it."""
TEXTS = ("red", "orange", "yellow", "blue", "violet", "gray", "green")


def streamlit_options(settings: DashboardSettings) -> dict[str, Any]:
    """Every option of Streamlit that is not left at its default."""
    hosts = ["localhost", "127.0.0.1", "[::1]", "::1", settings.host.strip("[]"), *settings.reached_as]
    options: dict[str, Any] = {
        "server.address": settings.host,
        "server.port": settings.port,
        "server.headless": True,
        "server.fileWatcherType": "none",
        "server.enableXsrfProtection": True,
        "server.enableCORS": True,
        "server.allowedHosts": list(dict.fromkeys(hosts)),
        "server.enableStaticServing": False,
        "server.maxUploadSize": 1,
        "browser.gatherUsageStats": False,
        "client.toolbarMode": "viewer",
        "client.showErrorDetails": "none",
        "client.showErrorLinks": False,
        "client.allowedOrigins": [settings.address.rstrip("/")],
        "logger.hideWelcomeMessage": True,
        "logger.enableRich": False,
        "logger.level": settings.log_level.lower(),
        "runner.magicEnabled": False,
        "theme.font": "sans-serif",
        "theme.baseFontSize": 15,
        "theme.baseRadius": "6px",
        "theme.paddingTop": "0.25rem",
        "theme.headingFontSizes": ["1.7rem", "1.5rem", "1.2rem", "1.1rem", "1rem", "1rem"],
    }
    if settings.certificate_file is not None:
        options["server.sslCertFile"] = str(settings.certificate_file)
        options["server.sslKeyFile"] = str(settings.key_file)
    for name, colours in (("light", LIGHT), ("dark", DARK)):
        texts = {f"{colour}TextColor": colours[f"{colour}Color"] for colour in TEXTS}
        options |= {f"theme.{name}.{key}": value for key, value in (colours | texts).items()}
    return options
