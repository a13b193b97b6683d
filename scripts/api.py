"""What scripts/api lists: the items on rustdoc's pages, with the signatures of their methods. Traits that are derived or that every type has
are left out."""

import difflib
import html
import re
import sys
from pathlib import Path

BEGINS = re.compile(r'\bid="(?:method|tymethod|structfield|variant|associatedconstant)\.([^"]+)"')
HEADER = re.compile(r'<(h[34]) class="code-header">(.*?)</\1>|<(code)>(.*?)</code>', re.S)


def text(page: str) -> str:
    words = re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", "", page))).replace(" ⓘ", "").strip()
    return words.replace("( ", "(").replace(", )", ")")


def items(folder: Path):
    for path in sorted(folder.rglob("*.html")):
        place = path.relative_to(folder)
        found = re.fullmatch(r"(struct|enum|trait|fn|type|constant)\.(\w+)\.html", place.name)
        if not found or place.parts[0] in ("internals", "floors", "guide"):
            continue
        page = path.read_text()
        name = "::".join([*place.parts[:-1], found[2]])
        declared = re.search(r'<pre class="rust item-decl">(.*?)</pre>', page, re.S)
        short = text(declared[1]).split("{")[0].strip() if declared and found[1] not in ("fn", "type") else text(declared[1]) if declared else ""
        yield name, short
        # What others implement for it, blanket and auto traits come after its own.
        own = re.split(r'id="(?:deref-methods[^"]*|foreign-impls|trait-implementations|synthetic-implementations|blanket-implementations|implementors)"', page)[0]
        for part in BEGINS.finditer(own):
            header = HEADER.search(own, part.end())
            words = text(header[2] or header[4]) if header else ""
            yield f"{name}::{part[1].replace('.field.', '.')}", "" if words == part[1] else words


def main() -> int:
    folder, kept, *rest = sys.argv[1:]
    now = sorted({f"{name}  {signature}".rstrip() for name, signature in items(Path(folder))})
    if rest == ["--keep"]:
        Path(kept).write_text("\n".join(now) + "\n")
        print(f"{len(now)} lines kept")
        return 0
    before = Path(kept).read_text().splitlines() if Path(kept).exists() else []
    changes = list(difflib.unified_diff(before, now, "docs/api.txt", "now", n=0, lineterm=""))
    print(*changes, sep="\n", end="\n" if changes else "")
    print("The public face has changed: scripts/api --keep, and a line in CHANGELOG.md." if changes else f"the public face is as it was: {len(now)} lines")
    return 1 if changes else 0


if __name__ == "__main__":
    sys.exit(main())
