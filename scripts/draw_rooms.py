#!/usr/bin/env python3
"""Draws docs/rooms.svg from docs/rooms.toml.

    scripts/draw_rooms.py          writes the picture
    scripts/draw_rooms.py --check  fails if the picture is not what the text says
"""
import sys
import tomllib
from html import escape
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent / "docs"
WIDTH, MARGIN, GAP = 960, 16, 10
ROOM, HEAD = 44, 46  # heights of a room, and of a crate's heading
# Crates that nothing else imports stand side by side at the top.
TOP = ["watermark-cli", "watermark-python", "watermark-capi"]


class Picture:
    def __init__(self):
        self.parts: list[str] = []

    def box(self, x: float, y: float, width: float, height: float, fill: str) -> None:
        self.parts.append(f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6" fill="{fill}" stroke="#667"/>')

    def text(self, x: float, y: float, text: str, size: int = 13, bold: bool = False, color: str = "#222") -> None:
        weight = ' font-weight="600"' if bold else ""
        self.parts.append(f'<text x="{x:g}" y="{y:g}" font-size="{size}"{weight} fill="{color}">{escape(text)}</text>')

    def crate(self, x: float, y: float, width: float, height: float, crate: dict) -> None:
        self.box(x, y, width, height, "#f3f5f9")
        self.text(x + 12, y + 20, crate["name"], 15, bold=True)
        self.text(x + 12, y + 37, crate["says"], 12, color="#555")

    def rooms(self, x: float, y: float, width: float, rooms: dict[str, str]) -> None:
        each = (width - GAP * (len(rooms) - 1)) / len(rooms)
        for at, (name, says) in enumerate(rooms.items()):
            left = x + at * (each + GAP)
            self.box(left, y, each, ROOM, "#fff")
            self.text(left + 10, y + 18, name, 13, bold=True)
            self.text(left + 10, y + 35, says, 11, color="#555")


def draw(rooms: dict) -> str:
    crates = {crate["name"]: crate for crate in rooms["crate"]}
    picture, y, inner = Picture(), float(MARGIN), WIDTH - 2 * MARGIN
    picture.text(MARGIN, y + 14, "Whatever stands higher may import what stands below it, and never the other way round.", 13)
    y += 30
    each = (inner - GAP * (len(TOP) - 1)) / len(TOP)
    # The wheel stands on the toolkit, the C interface on the core; the binary uses the laboratory too.
    toolkit = [{key: says} for group in crates["watermark-toolkit"]["groups"][::-1] for key, says in group.items()]
    heights = [HEAD, 2 * HEAD + GAP, 3 * HEAD + 2 * GAP + len(toolkit) * (ROOM + GAP)]
    for at, (name, height) in enumerate(zip(TOP, heights, strict=True)):
        picture.crate(MARGIN + at * (each + GAP), y, each, height, crates[name])
    y += HEAD + GAP
    picture.crate(MARGIN, y, each, HEAD, crates["watermark-lab"])
    y += HEAD + GAP
    core = crates["watermark-core"]["floors"][::-1]
    for name, floors, width in [("watermark-toolkit", toolkit, 2 * each + GAP), ("watermark-core", core, inner)]:
        height = HEAD + len(floors) * (ROOM + GAP)
        picture.crate(MARGIN, y, width, height, crates[name])
        for at, floor in enumerate(floors):
            picture.rooms(MARGIN + 12, y + HEAD + at * (ROOM + GAP), width - 24, floor)
        y += height + GAP
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + MARGIN - GAP:g}" font-family="system-ui, sans-serif" role="img" '
        'aria-label="Crates and rooms, from the ground up">',
        '<rect width="100%" height="100%" fill="#fff"/>',
        *picture.parts,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    drawn = draw(tomllib.loads((DOCS / "rooms.toml").read_text(encoding="utf-8")))
    file = DOCS / "rooms.svg"
    if sys.argv[1:] == ["--check"]:
        if not file.is_file() or file.read_text(encoding="utf-8") != drawn:
            sys.exit("docs/rooms.svg is not what docs/rooms.toml says; run scripts/draw_rooms.py")
        print("docs/rooms.svg is what docs/rooms.toml says")
        return
    file.write_text(drawn, encoding="utf-8")


if __name__ == "__main__":
    main()
