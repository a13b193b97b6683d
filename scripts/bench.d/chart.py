"""The table of scripts/bench as an SVG: one bar per server in each row, as multiples of Rill. Written by hand: a README needs no more."""

from html import escape

# Of one family each, dark for Rill; told apart in grey too.
COLOURS = {"node": "#8a8f98", "socketioxide": "#d98e04", "floor": "#c9d6df", "rill": "#0b6e4f", "rill+": "#58a688"}
WIDTH, LEFT, RIGHT, BAR, GAP, TOP = 900, 365, 75, 9, 12, 64
STYLE = "text{font:12px system-ui,sans-serif;fill:#24292f}.small{font-size:10px}.head{font-size:15px;font-weight:600}"


def figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def chart(rows, columns: dict[str, str], measured: dict[str, dict[str, float]]) -> str:
    """The longest bar of each row fills the width: rows have different units, and only ratios count."""
    parts, y = [], TOP
    for row in rows:
        found = {server: value for server, value in measured.get(row.name, {}).items() if server in COLOURS}
        if not found:
            continue
        middle = y + len(found) * (BAR + 1) / 2 + 4
        parts.append(f'<text x="{LEFT - 10}" y="{middle:.0f}" text-anchor="end">{escape(row.title)}</text>')
        most = max(found.values())
        for server in COLOURS:
            if server in found:
                width = max(1, (WIDTH - LEFT - RIGHT) * found[server] / most)
                parts.append(f'<rect x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR}" fill="{COLOURS[server]}"/>')
                parts.append(f'<text class="small" x="{LEFT + width + 4:.1f}" y="{y + BAR - 1}">{figure(found[server])} {row.unit}</text>')
                y += BAR + 1
        y += GAP
    legend, x = [], 20
    for server, colour in COLOURS.items():
        legend.append(f'<rect x="{x}" y="38" width="10" height="10" fill="{colour}"/><text x="{x + 15}" y="47">{escape(columns[server])}</text>')
        x += 40 + 7 * len(columns[server])
    title = "Server CPU time per operation (memory and latency where it says so): shorter is better"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" role="img" aria-label="{title}">',
            f'<style>{STYLE}</style><rect width="{WIDTH}" height="{y}" fill="#fff"/>',
            f'<text class="head" x="20" y="24">{title}</text>',
            *legend,
            *parts,
            "</svg>\n",
        ]
    )
