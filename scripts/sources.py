"""What scripts/size counts and scripts/check demands of the sources. Works on text, not on a syntax tree: literals are
masked and comments blanked first, so that what remains can be searched with plain patterns."""

import posixpath
import re
import subprocess
import sys
from pathlib import Path
from typing import Iterator, NamedTuple

# The floors, lowest first; imports go down only. lib.rs, floors.rs, the guide and the binaries stand on top of all.
FLOORS = ["id+limits", "codec", "proto", "server", "io", "app"]
MODULE_FLOOR = {"id": "id+limits", "limits": "id+limits"} | {name: name for name in FLOORS[1:]}
BINARIES = ("src/app/", "src/app.rs", "src/main.rs", "src/bin/")
SHELLS = ("src/io/", "src/io.rs", *BINARIES)
MOST_LINES = 500
DEPENDENCIES = set("tokio tungstenite httparse sha1 base64 serde_json bytes getrandom itoa memchr serde_core libc".split())


class Breach(NamedTuple):
    file: str
    line: int
    why: str


# --- Rust text -------------------------------------------------------------------------------------------------------

LITERAL = re.compile(
    r"""(?<!\w)[bc]?r(?P<hashes>\#*)".*?"(?P=hashes)    # raw string
      | "(?:\\.|[^"\\])*"                               # string, also after b or c
      | '(?:\\(?:u\{[^}]*\}|x..|.)|[^'\\\n])'           # character; a lifetime has no closing quote
      | //[^\n]*
      | /\*""",
    re.S | re.X,
)


def mask(text: str) -> str:
    """The text, of the same length and with the same lines: comments are blanks, what stands in a literal is `_`."""
    out, at = [], 0
    while found := LITERAL.search(text, at):
        out.append(text[at : found.start()])
        end, fill = found.end(), "_"
        if found[0] == "/*":
            depth = 1  # block comments nest
            while depth and (mark := re.compile(r"/\*|\*/").search(text, end)):
                depth += 1 if mark[0] == "/*" else -1
                end = mark.end()
            end = end if not depth else len(text)
        if found[0].startswith("/"):
            fill = " "
        out.append(re.sub(r"[^\n]", fill, text[found.start() : end]))
        at = end
    return "".join(out) + text[at:]


def closing(code: str, at: int) -> int:
    """Where the bracket that opens at `at` closes."""
    depth = 0
    for found in re.compile(r"[(\[{}\])]").finditer(code, at):
        depth += 1 if found[0] in "([{" else -1
        if depth == 0:
            return found.start()
    return len(code) - 1


TEST_ATTRIBUTE = re.compile(r"#\s*\[\s*cfg\s*\(\s*(?:test\s*\)|all\s*\(\s*test\b[^\]]*)\s*\]")


def without_tests(code: str) -> str:
    """Masked code with every item under `#[cfg(test)]` blanked."""
    while found := TEST_ATTRIBUTE.search(code):
        end = found.end()
        while end < len(code) and code[end] not in "{;":  # the item's own bracket or semicolon, past further attributes
            end = closing(code, end) + 1 if code[end] in "([" else end + 1
        if code[end : end + 1] == "{":
            end = closing(code, end)
            end += len(re.compile(r".\s*;?").match(code, end)[0]) - 1 if end < len(code) else 0
        end = min(end + 1, len(code))
        code = code[: found.start()] + re.sub(r"\S", " ", code[found.start() : end]) + code[end:]
    return code


def module_path(file: str) -> list[str]:
    """src/proto/engine.rs is proto::engine; a module file and the roots are their folder."""
    parts = list(Path(file).with_suffix("").parts[1:])
    return parts[:-1] if parts[-1] in ("mod", "lib", "main") else parts


class Source:
    """One file below src/."""

    def __init__(self, file: str, text: str):
        self.file, self.text = file, text
        self.all = mask(text)
        self.code = without_tests(self.all)
        top = Path(file).with_suffix("").parts[1]
        self.floor = "app" if top in ("lib", "floors", "main", "bin", "guide") else MODULE_FLOOR.get(top)

    def declares_tests(self) -> list[str]:
        """Modules in files of their own that exist in tests only."""
        declaration = TEST_ATTRIBUTE.pattern + r"\s*((?:#\[[^\]]*\]\s*)*)(?:pub\s*(?:\([^)]*\)\s*)?)?mod\s+(\w+)\s*;"
        found = []
        for module in re.finditer(declaration, self.all):
            elsewhere = re.search(r'\bpath\s*=\s*"(.+)\.rs"', self.text[slice(*module.span(1))])  # in the text: literals are masked
            found.append(f"{Path(self.file).parent}/{elsewhere[1]}" if elsewhere else "/".join(["src", *module_path(self.file), module[2]]))
        return found

    def lines(self) -> int:
        return sum(1 for line in self.code.splitlines() if line.strip())

    def breach(self, at: int, why: str) -> Breach:
        return Breach(self.file, self.text.count("\n", 0, at) + 1, why)


def sources(files: dict[str, str]) -> list[Source]:
    """Every source file; those that only tests contain have no code of their own."""
    found = [Source(file, text) for file, text in sorted(files.items()) if re.match(r"src/.*\.rs$", file)]
    tests = [path for source in found for path in source.declares_tests()]
    for source in found:
        if any(source.file == path + ".rs" or source.file.startswith(path + "/") for path in tests):
            source.code, source.floor = "", source.floor or "app"
    return found


# --- paths: what a file names ----------------------------------------------------------------------------------------


def use_tree(code: str, start: int, end: int) -> Iterator[tuple[int, list[str]]]:
    """`a::{b, c::d}` between two positions: a::b and a::c::d, each with its position."""
    stack, path, at, renamed = [], [], None, False
    for found in re.compile(r"\w+|[{},*]").finditer(code, start, end):
        word = found[0]
        if word in ",}":
            if at is not None:
                yield at, path
            path, at, renamed = list(stack[-1] if stack else []), None, False
            if word == "}" and stack:
                stack.pop()
        elif word == "{":
            stack.append(path)
            path, at = list(path), None
        elif word == "as":
            renamed = True
        elif not renamed:
            path, at = [*path, word], found.start() if at is None else at
    if at is not None:
        yield at, path


USE = re.compile(r"\b(?:use|extern\s+crate)\s([^;]*);")
PATH = re.compile(r"(?<![\w:])(?:::\s*)?(\w+(?:\s*::\s*\w+)+)")


def paths(code: str) -> Iterator[tuple[int, list[str]]]:
    """All paths in the code, imported or written out."""
    for found in USE.finditer(code):
        yield from use_tree(code, *found.span(1))
    rest = USE.sub(lambda use: re.sub(r"\S", " ", use[0]), code)
    for found in PATH.finditer(rest):
        yield found.start(1), re.split(r"\s*::\s*", found[1])


def inner_modules(code: str) -> list[tuple[int, int, str]]:
    """`mod name { … }` inside a file."""
    return [(m.end(), closing(code, m.end() - 1), m[1]) for m in re.finditer(r"\bmod\s+(\w+)\s*\{", code)]


def from_root(source: Source, inner: list[tuple[int, int, str]], at: int, path: list[str]) -> list[str] | None:
    """The path from the crate's root; nothing for a path that leaves the crate or starts at a local name."""
    if path[0] == "crate":
        return path[1:]
    if path[0] not in ("self", "super"):
        return None
    here = module_path(source.file) + [name for start, end, name in inner if start <= at <= end]
    for step, name in enumerate(path):
        if name == "super":
            here = here[:-1]
        elif name != "self":
            return here + path[step:]
    return here


# --- the rules -------------------------------------------------------------------------------------------------------

NEVER = [
    (r"\bunsafe\b", "unsafe"),
    (r"(?:\.|::)\s*(?:unwrap|expect)(?:_err|_unchecked)?\b", "unwrap or expect: handle the error"),
    (r"\b(?:panic|todo|unreachable|unimplemented|dbg)\s*!", "a macro that panics or is for debugging"),
    (r"\bmacro_rules\s*!", "macro_rules!: write a function"),
]
PLACES = [  # pattern or paths, where it may stand, why
    (r"\b(?:Instant|SystemTime)\b", SHELLS, "the clock is read in io and app only"),
    (r"\bgetrandom\b", SHELLS, "randomness is asked for in io and app only"),
    (r"\b(?:Tcp(?:Stream|Listener)|UdpSocket|Unix(?:Stream|Listener|Datagram))\b", SHELLS, "sockets belong to io and app"),
    (["std::fs", "std::process"], SHELLS, "files and processes belong to io and app"),
    (["std::env"], BINARIES, "the environment is read in app and the binaries only"),
]


def imports(source: Source) -> Iterator[Breach]:
    """Holds in tests too: what a floor is tested with is not above it either."""
    rank, inner = FLOORS.index(source.floor), inner_modules(source.all)
    for at, path in paths(source.all):
        target = from_root(source, inner, at, path)
        if not target or target == module_path(source.file)[: len(target)]:
            continue
        floor = MODULE_FLOOR.get(target[0])
        if floor and FLOORS.index(floor) > rank:
            yield source.breach(at, f"{source.floor} imports from {floor}: imports go down only")
        elif not floor and rank < len(FLOORS) - 1:
            yield source.breach(at, f"crate::{target[0]} is on no floor: name the module it lives in")
    if not source.file.startswith(SHELLS):
        for found in re.finditer(r"\btokio\b", source.all):
            yield source.breach(found.start(), "tokio belongs to io and app")


def words(source: Source) -> Iterator[Breach]:
    for pattern, why in NEVER:
        for found in re.finditer(pattern, source.code):
            yield source.breach(found.start(), why)
    for what, where, why in PLACES:
        if source.file.startswith(where):
            continue
        if isinstance(what, str):
            hits = [found.start() for found in re.finditer(what, source.code)]
        else:
            hits = [at for at, path in paths(source.code) if "::".join(path[:2]) in what]
        for at in hits:
            yield source.breach(at, why)


def type_parameters(source: Source) -> Iterator[Breach]:
    code = source.code
    for found in re.finditer(r"\b(?:(fn|struct|enum|union|trait|type)\s+\w+|impl)\s*(?=[<(])", code):
        at, names, depth, nested = found.end(), [""], 0, 0
        if code[at] == "<":
            while at < len(code):
                char = code[at]
                nested += (char in "([{") - (char in ")]}")
                if char in "<>" and code[at - 1 : at + 1] not in ("->", "=>"):
                    depth += 1 if char == "<" else -1
                    if depth == 0:
                        break
                if char == "," and depth == 1 and nested == 0:
                    names.append("")
                elif depth > 1 or char != "<":
                    names[-1] += char
                at += 1
            at += 1
        count = sum(1 for name in names if name.strip() and not re.match(r"\s*(?:'|const\b)", name))
        if found[1] == "fn" and code[at : at + 1] == "(":
            # An argument `impl Trait` is one too; a closure is not, it is only called.
            count += len(re.findall(r"\bimpl\s+(?!Fn(?:Once|Mut)?\s*\()", code[at : closing(code, at)]))
        if count > 1:
            yield source.breach(found.start(), f"{count} type parameters: one at most")


def shape(source: Source) -> Iterator[Breach]:
    if not source.text.startswith("//!"):
        yield Breach(source.file, 1, "the file does not begin with a //! comment that says what it is")
    if (lines := source.lines()) > MOST_LINES:
        yield Breach(source.file, 1, f"{lines} code lines: {MOST_LINES} at most")


def dependencies(text: str) -> Iterator[Breach]:
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        names = []
        if header := re.match(r"\s*\[+\s*(.*?)\s*\]+\s*(?:#.*)?$", line):
            section = re.sub(r"^target\..*?\.(?=(?:build-)?dependencies)", "", header[1])
            if single := re.match(r"((?:build-)?dependencies)\.(.+)", section):
                names = [single[2].strip("\"'")]
        elif section in ("dependencies", "build-dependencies") and (key := re.match(r"\s*[\"']?([\w-]+)", line)):
            names = [key[1]]
        if re.match(r"(?:build-)?dependencies\b", section) and (renamed := re.search(r"\bpackage\s*=\s*[\"']([\w-]+)", line)):
            names = [renamed[1]]
        for name in names:
            if section.startswith("build-") or name not in DEPENDENCIES:
                yield Breach("Cargo.toml", number, f"{name} is not one of the dependencies that the design allows")


# Written so that no pattern finds itself here.
OUTSIDE = [
    (re.compile(r"(?<![\w./~$}-])/(?:root|home|work|Users)/[A-Za-z0-9._]"), "a path of some machine"),
    (
        re.compile(r"\b(?:registry|pypi|static|index|files|deb|proxy|mirrors?)\.(?!example\b)[a-z0-9-]+\.(?:org|com|io|dev|net|cn)\b|\b(?:pypi\.org|crates\.io)(?!-)"),
        "the host name of a package registry",
    ),
]


def text(file: str, content: str) -> Iterator[Breach]:
    for pattern, why in OUTSIDE:
        for found in pattern.finditer(content):
            yield Breach(file, content.count("\n", 0, found.start()) + 1, why)


# --- documents: what they point at exists ----------------------------------------------------------------------------

README_LINES = 220
FENCE = re.compile(r"^(```|~~~).*?^\1[^\n]*$", re.S | re.M)
LINK = re.compile(r"""\]\(\s*<?([^)\s>]+)>?[^)]*\)|\b(?:src|srcset|href)="([^"\s]+)"|^\[[^\]]+\]:\s*(\S+)""", re.M)
NAMED = re.compile(r"`((?:src|scripts|vendor-tests|docs|examples|fuzz|\.ci)/[\w./-]+|[\w-]+\.(?:md|toml|lock|yml|conf))`")
# `NAME` or `NAME`, `Type::method` in `file`: each stands there.
INSIDE = re.compile(r"((?:`[A-Za-z_]\w*(?:::\w+)*`(?:, | and ))*`[A-Za-z_]\w*(?:::\w+)*`) in `((?:src|scripts|vendor-tests|examples)/[\w./-]+)`")
# A row of AUDIT.md's reading order: a number, paths, what to ask, lines, hours.
PART = re.compile(r"^\| \d+ \| (.+?) \| .+ \| ([\d,]+) \| ([\d.]+) \|$", re.M)
LINES_AN_HOUR = 300
MADE = ("client-files", "rust-toolchain.toml")  # not in the repository, and rightly named


def anchors(page: str) -> set[str]:
    """Of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    for heading in re.finditer(r"^#{1,6}\s+(.*?)\s*#*$", FENCE.sub("", page), re.M):
        words = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading[1])
        slug = base = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
        again = 0
        while slug in found:
            again += 1
            slug = f"{base}-{again}"
        found.add(slug)
    return found


def documents(files: dict[str, str]) -> Iterator[Breach]:
    """Relative links, their anchors, and the paths of files between backquotes. rustdoc looks after the guide's links."""
    there = set(files) | {str(folder) for file in files for folder in Path(file).parents}
    for file, page in files.items():
        if not file.endswith(".md") or file.startswith("src/"):
            continue

        def blank(found: re.Match[str]) -> str:
            return re.sub(r"[^\n]", " ", found[0])

        prose = FENCE.sub(blank, page)

        def breach(at: int, why: str) -> Breach:
            return Breach(file, page.count("\n", 0, at) + 1, why)

        for link in LINK.finditer(re.sub(r"`[^`\n]*`", blank, prose)):
            target = link[1] or link[2] or link[3]
            if re.match(r"[a-z][a-z0-9+.-]*:|//", target):
                continue
            path, _, anchor = target.partition("#")
            to = posixpath.normpath(posixpath.join(posixpath.dirname(file), path)) if path else file
            if to not in there:
                yield breach(link.start(), f"the link {target} leads nowhere")
            elif anchor and anchor not in anchors(files.get(to, "")):
                yield breach(link.start(), f"the link {target} names no heading of {to}")
        if file != "CHANGELOG.md":  # what it speaks of may be gone
            for named in NAMED.finditer(prose):
                path = named[1].rstrip("/.")
                beside = posixpath.join(posixpath.dirname(file), path)
                if path not in MADE and path not in there and beside not in there:
                    yield breach(named.start(), f"there is no {path}")
        for named in INSIDE.finditer(prose):
            for name in re.findall(r"`([^`]+)`", named[1]):
                word = name.split("::")[-1]
                if named[2] in files and not re.search(rf"\b{word}\b", files[named[2]]):
                    yield breach(named.start(), f"{named[2]} has no {name}")
    counted = {source.file: source.lines() for source in sources(files)} if "AUDIT.md" in files else {}
    for part in PART.finditer(files.get("AUDIT.md", "")):
        if "the rest" in part[1]:
            continue
        paths = re.findall(r"`(src/[\w./-]+)`", part[1])
        lines, said, hours = sum(n for file, n in counted.items() if file.startswith(tuple(paths))), int(part[2].replace(",", "")), float(part[3])
        if not 0.85 * lines <= said <= 1.15 * lines or abs(hours - lines / LINES_AN_HOUR) > 1:
            yield Breach("AUDIT.md", files["AUDIT.md"].count("\n", 0, part.start()) + 1, f"{', '.join(paths)}: {lines} lines, {lines / LINES_AN_HOUR:.0f} hours")
    if (lines := files.get("README.md", "").count("\n")) > README_LINES:
        yield Breach("README.md", 1, f"{lines} lines: {README_LINES} at most, the rest belongs into docs/")


def check(files: dict[str, str]) -> list[Breach]:
    """All breaches in these files, given by name and text."""
    breaches = list(dependencies(files.get("Cargo.toml", "")))
    for source in sources(files):
        breaches += shape(source)
        if source.floor is None:
            breaches.append(Breach(source.file, 1, "the file is on no floor"))
            continue
        for rule in (imports, words, type_parameters):
            breaches += rule(source)
    breaches += documents(files)
    for file, content in files.items():
        breaches += text(file, content)
    return sorted(set(breaches))


# --- self-test -------------------------------------------------------------------------------------------------------

# Must pass: each line looks like a breach to a checker that is too simple.
CLEAN = {
    "Cargo.toml": '[package]\nname = "x"\n[dependencies]\nbytes = "1"\nlibc = { version = "0.2", features = ["std"] }\n[dev-dependencies]\nproptest = "1"\n',
    "Cargo.lock": 'source = "registry+https://github.com/rust-lang/crates' + '.io-index"\n',
    "README.md": "GET /home or https://example.com/work/x, $HOME/work/x\n[a](docs/a.md#b-c--d-1) <img src=\"src/lib.rs\"> `src/codec/` `[x](y)`\n```\n[b](no)\n```\n",
    "docs/a.md": "# A\n```\n# no\n```\n## B `c`, (d)\n## B c & d\n## B c & d\n[x](../README.md) [y](#a) [z](https://example.com/#q) `a.md` `docs/a.md`\n",
    "CHANGELOG.md": "`src/gone.rs`\n",
    "AUDIT.md": "| 1 | `src/codec/` | what | 9 | 0.1 |\n| 2 | the rest of `src/` | what | 9 | 9 |\n`T`, `Y::g` and `f` in `src/codec/a.rs`\n",
    "src/lib.rs": "//! x\npub mod codec;\npub mod io;\n",
    "src/server/mod.rs": "//! x\n#[cfg(test)]\nmod sim;\n#[cfg(test)]\n#[path = \"mod_tests.rs\"]\nmod tests;\n",
    "src/server/mod_tests.rs": "//! x\nfn f() { a.unwrap(); }\n",
    "src/server/sim.rs": "//! x\nuse std::time::Instant;\nfn f() { a.unwrap(); }\n",
    "src/id.rs": "//! x\nuse crate::limits::Limits;\n",
    "src/limits.rs": "//! x\n",
    "src/io/mod.rs": "//! x\nuse crate::{codec::A, server::B, id};\nuse std::time::Instant;\nuse tokio::net::TcpStream;\n",
    "src/app/mod.rs": "//! x\nuse std::env;\nuse crate::io;\n",
    "src/codec/mod.rs": "//! x\nmod a;\npub use self::a::A;\n#[cfg(test)]\nmod tests { use super::A; fn f() { x.unwrap() } }\n",
    "src/codec/a.rs": """//! x
use crate::{id::Sid, limits};
use super::b::{self, C as Instants};
// a.unwrap() /* unsafe
/* panic!() /* nested */ tokio */
fn f<'a, T: Fn(u8) -> u8, const N: usize>(a: &'a T) -> [u8; 2] { a.unwrap_or('"'); b.expect_none(r#"x.unwrap() "tokio""#) }
const T: &[u8] = b"\\"unsafe panic!()";
fn g(a: impl Into<A>, b: impl FnOnce(u8) + Send) {}
impl<'a, 'b> X<'a> for Y<A, B> {}
#[expect(clippy::unwrap_used)]
#[cfg(test)]
use std::{env, fs};
#[cfg(test)]
#[allow(dead_code)]
mod tests {
    fn g<A, B>() { x.unwrap(); panic!("}") }
}
""",
}
A = "src/codec/a.rs"
BREACHES = [  # file, text (None: the clean text with the line appended), a word of the answer
    (A, "//! x\nuse crate::proto::X;", "imports go down"),
    (A, "//! x\nuse crate::{\n    id::Sid,\n    server::{a, b},\n};", "imports go down"),
    (A, "//! x\nfn f(a: crate::io::X) {}", "imports go down"),
    (A, "//! x\nuse super::super::app;", "imports go down"),
    (A, "//! x\n#[cfg(test)]\nmod tests { use super::super::super::io; }", "imports go down"),
    ("src/id.rs", "//! x\nuse crate::codec;", "imports go down"),
    (A, "//! x\nuse crate::Server;", "on no floor"),
    ("src/other.rs", "//! x\n", "on no floor"),
    ("src/server/a.rs", "//! x\nuse tokio::sync::Mutex;", "tokio"),
    ("src/lib.rs", "//! x\nasync fn f() { tokio::spawn(x) }", "tokio"),
    ("src/proto/a.rs", "//! x\nuse std::time::{Duration, Instant};", "clock"),
    ("src/server/a.rs", "//! x\nlet a = std::time::SystemTime::now();", "clock"),
    ("src/id.rs", "//! x\nfn f() { getrandom::fill(b) }", "randomness"),
    ("src/io/a.rs", "//! x\nuse std::{fmt, env};", "environment"),
    ("src/server/a.rs", "//! x\nfn f() { std::env::var(x) }", "environment"),
    ("src/server/a.rs", "//! x\nuse std::net::TcpStream;", "sockets"),
    ("src/server/a.rs", "//! x\nuse std::fs;", "files"),
    (A, "//! x\nfn f() { unsafe { x } }", "unsafe"),
    (A, "//! x\nfn f() { x.unwrap() }", "unwrap"),
    (A, "//! x\nfn f() { x\n.expect(\"a\") }", "unwrap"),
    (A, "//! x\nfn f() { x.map(Option::unwrap) }", "unwrap"),
    *[(A, f"//! x\nfn f() {{ {name}!() }}", "macro that") for name in ("panic", "todo", "unreachable", "unimplemented", "dbg")],
    (A, "//! x\nmacro_rules! a { () => {} }", "macro_rules"),
    (A, "//! x\n#[cfg(test)]\nmod tests { fn f() {} }\nfn f() { x.unwrap() }", "unwrap"),
    (A, "//! x\nfn f<A, B>() {}", "type parameters"),
    (A, "//! x\nstruct X<'a, A: Fn() -> B, C>(A);", "type parameters"),
    (A, "//! x\nimpl<A, B> X for Y {}", "type parameters"),
    (A, "//! x\nfn f(a: impl A, b: impl B) {}", "type parameters"),
    (A, "//! x\n" + "const A: u8 = 1;\n" * 501, "code lines"),
    (A, "// x\n", "does not begin"),
    ("src/server/sim.rs", "//! x\nfn f() { a.unwrap() }", "unwrap"),  # once it is no longer a test, see self_test
    ("src/server/mod_tests.rs", "//! x\nfn f() { a.unwrap() }", "unwrap"),
    ("Cargo.toml", '[dependencies]\nserde = "1"', "allows"),
    ("Cargo.toml", "[dependencies.serde]", "allows"),
    ("Cargo.toml", '[target."cfg(unix)".dependencies]\nnix = "1"', "allows"),
    ("Cargo.toml", '[dependencies]\nbytes = { package = "other", version = "1" }', "allows"),
    ("Cargo.toml", '[build-dependencies]\nbytes = "1"', "allows"),
    ("README.md", "x\n[a](docs/b.md)", "leads nowhere"),
    ("README.md", "x\n[a]: docs/b.md", "leads nowhere"),
    ("README.md", 'x\n<source srcset="a.png">', "leads nowhere"),
    ("docs/a.md", "# B\n[a](../README.md#b)", "names no heading"),
    ("docs/a.md", "# B\n```\n# A\n```\n[a](#a)", "names no heading"),
    ("docs/a.md", "# A\n`src/codec/gone.rs`", "there is no"),
    ("AUDIT.md", "x\n`T`, `gone` in `src/codec/a.rs`", "has no gone"),
    ("AUDIT.md", "x\n| 1 | `src/codec/` | what | 21 | 0.1 |", "lines, 0 hours"),
    ("AUDIT.md", "x\n| 1 | `src/codec/` | what | 9 | 3 |", "lines, 0 hours"),
    ("README.md", "x\n" * 221, "lines: 220"),
    ("README.md", "cd /ho" + "me/anna/x", "path of some machine"),
    ("scripts/x", "\nP=/ro" + "ot/x", "path of some machine"),
    ("x.json", '"https://regis' + 'try.packages.org/a.tgz"', "registry"),
    ("README.md", "see https://crates" + ".io/crates/rill", "registry"),
]


def self_test() -> int:
    failed = [f"the clean sources are refused: {breach}" for breach in check(CLEAN)]
    for file, content, why in BREACHES:
        changed = {file: content} | ({"src/server/mod.rs": "//! x\nmod sim;\n"} if CLEAN.get(file) and "server/" in file else {})
        found = [breach for breach in check(CLEAN | changed) if breach.file == file]
        # Exactly one, on the line that holds it: the last one, or for the shape of a file the first.
        rows = {1, len(content.splitlines())} | ({4} if "server::{a" in content else set())
        if len(found) != 1 or why not in found[0].why or found[0].line not in rows:
            failed.append(f"not seen as «{why}»: {content[:80]!r}: {found}")
    print(*failed, sep="\n", end="\n" if failed else "")
    print(f"self-test: {len(BREACHES) + 1 - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


# --- the commands ----------------------------------------------------------------------------------------------------


def read_files(root: Path) -> dict[str, str]:
    """What git tracks or would track."""
    listed = subprocess.run(["git", "-C", root, "ls-files", "-coz", "--exclude-standard"], capture_output=True, check=True)
    files = {}
    for name in listed.stdout.decode().split("\0"):
        if name and (root / name).is_file():
            files[name] = (root / name).read_bytes().decode(errors="replace")
    return files


def size(files: dict[str, str]) -> None:
    found, total = [source for source in sources(files) if source.lines()], 0
    for floor in [*FLOORS, None]:
        rows = [(source.lines(), source.file) for source in found if source.floor == floor]
        if rows:
            total += sum(lines for lines, _ in rows)
            print(f"{sum(lines for lines, _ in rows):6}  {floor or 'on no floor'}")
            print(*(f"{lines:12}  {file}" for lines, file in rows), sep="\n")
    print(f"{total:6}  total")


def main() -> int:
    command = sys.argv[1]
    if command == "--self-test":
        return self_test()
    files = read_files(Path(__file__).resolve().parent.parent)
    if command == "size":
        size(files)
        return 0
    if command != "check":
        print("usage: scripts/check [--self-test]", file=sys.stderr)
        return 2
    breaches = check(files)
    for breach in breaches:
        print(f"{breach.file}:{breach.line}: {breach.why}")
    print(f"{len(breaches)} breaches of the house rules in {len(files)} files" if breaches else f"the house rules hold in {len(files)} files")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
