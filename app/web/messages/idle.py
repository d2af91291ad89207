"""Texts about keeping a workspace awake."""

from app.core.i18n import Text

REST: dict[str, Text] = {
    "kept_until": Text("Kept awake until {until} UTC.", "Bleibt wach bis {until} UTC."),
    "keep_awake": Text("Keep awake", "Wach halten"),
    "keep_awake_lead": Text(
        "Requests, traffic of open pages, and more than {percent} % of a processor core count as use. A program that "
        "sleeps, or waits for a database, does not: keep the workspace awake for it. This does not extend its maximum "
        "lifetime.",
        "Als Benutzung zählen Anfragen, Verkehr offener Seiten und mehr als {percent} % eines Prozessorkerns. Ein "
        "Programm, das schläft oder auf eine Datenbank wartet, zählt nicht: Halte den Arbeitsplatz dafür wach. An "
        "seiner maximalen Laufzeit ändert das nichts.",
    ),
    "keep_awake_for": Text("For", "Für"),
}
