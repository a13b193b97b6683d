"""Reads callgrind's table, and compares each case with what was kept: compare.py KEPT BUILT [--keep]."""

import re
import sys
from pathlib import Path

TIMES = 100
MOST = 1.05
CASE = re.compile(r"^ *([\d,]+) .*[:\s]instructions::(\w+)(?: |$)")


def counted(lines: list[str]) -> dict[str, int]:
    """Instructions of one call of each case, with all that it calls."""
    source = (Path(__file__).parent / "src/main.rs").read_text()
    cases = re.findall(r"^    (\w+)\(input\) \{", source, re.MULTILINE)
    found = {match[2]: int(match[1].replace(",", "")) for line in lines if (match := CASE.match(line))}
    missing = [case for case in cases if case not in found]
    if missing:
        sys.exit(f"callgrind does not show {', '.join(missing)}")
    return {case: found[case] // TIMES for case in cases}


def main() -> int:
    kept_file, built, keep = Path(sys.argv[1]), sys.argv[2], "--keep" in sys.argv[3:]
    now = counted(sys.stdin.readlines())
    if keep:
        lines = [f"# {built}", *(f"{case} {count}" for case, count in now.items())]
        kept_file.write_text("\n".join(lines) + "\n")
    head, *lines = kept_file.read_text().splitlines()
    kept = {case: int(count) for case, count in (line.split() for line in lines)}
    same = head == f"# {built}"
    slower = []
    print(f"{'instructions of one call':28} {'now':>9} {'kept':>9}")
    for case, count in now.items():
        before = kept.get(case)
        change = f"{count / before - 1:+8.1%}" if before else "     new"
        print(f"{case:28} {count:9,} {before or 0:9,} {change}")
        if before is None or count > before * MOST:
            slower.append(case)
    if not same:
        print(f"Kept with {head[2:]}; this is {built}: no judgement.")
    elif slower:
        print(f"More than {MOST - 1:.0%} above what was kept, or not kept: {', '.join(slower)}. If that is meant: scripts/instructions --keep")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
