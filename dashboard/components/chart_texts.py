"""This file knows what the canvas says to people, in the viewer's language."""

from dashboard.languages import tr


def chart_texts() -> dict[str, str]:
    """Every text of the canvas by the name its scripts use; {name} in them is filled in the browser."""
    return {
        "cursor": tr("Cursor"),
        "single": tr("Single"),
        "single_help": tr("One cursor (c); it snaps to the highest line nearby, n and b go to the next peak"),
        "harmonics": tr("Harmonics"),
        "harmonics_help": tr(
            "Multiples of the line you click (h); the keys 1 to 9 say which multiple the clicked line is"
        ),
        "sidebands": tr("Sidebands"),
        "sidebands_help": tr("Click the carrier, then one sideband (s): spacing and heights are read"),
        "distance": tr("Distance"),
        "distance_help": tr("Click two places (d): their distance in time, and its inverse in Hz"),
        "carrier": tr("carrier"),
        "spacing": tr("spacing"),
        "second": tr("click a sideband"),
        "orders": tr("orders"),
        "orders_of_shaft": tr("orders of the shaft"),
        "orders_help": tr("Frequency in Hz or in orders of the shaft (o)"),
        "unit_help": tr("Acceleration, peak, or velocity, RMS (u)"),
        "scale_help": tr("Linear or logarithmic height (l)"),
        "difference": tr("difference"),
        "difference_help": tr("Show what has grown: this capture less the one it is compared with"),
        "out_help": tr("Zoom out (-)"),
        "in_help": tr("Zoom in (+)"),
        "all": tr("All"),
        "all_help": tr("Show all (0)"),
        "in": tr("in"),
        "no_data": tr("no data from {from} to {to}"),
        "csv_help": tr("Save all values of this chart as CSV, full resolution"),
        "png_help": tr("Save the picture of this chart as PNG"),
        "wav_help": tr("Save the waveform as a sound (WAV), scaled to full loudness"),
        "listen": tr("Listen"),
        "listen_help": tr("Hear the waveform, scaled to full loudness"),
        "scaled": tr("Scaled: full loudness is {most} g; loudness says nothing of severity."),
        "no_sound": tr("This browser plays no sound here; save the WAV file instead."),
        "link": tr("Link"),
        "link_help": tr("Copy a link to exactly this view, for a colleague"),
        "take_along": tr("Take along"),
        "family_help": tr("Show or hide the lines of {name}"),
        "peaks": tr("The {count} highest peaks, of the full resolution"),
        "peaks_thinned": tr("The {count} highest peaks, of every {every} lines the largest"),
        "peak_help": tr("Put the cursor on {hz} Hz"),
        "above_floor": tr("above floor"),
        "belongs_to": tr("belongs to"),
        "contributions": tr("Where the score comes from"),
        "contribution_help": tr("Show the band of {name}"),
    }
