#!/usr/bin/env python3
"""Imports point one way: between the crates, between the rooms of watermark-core, between the files of a crate, and between the
modules of the Python package. Reads sources as text; builds and imports nothing.

    scripts/check_modules.py              checks the tree that this script stands in
    scripts/check_modules.py --self-test  checks this script itself, on small trees with and without a fault

What counts as an import of a Rust file: every path in a `use` and in the code that leads to something another file of the crate
defines. Files that a macro declares count as children of the face. A path is followed through aliases and re-exports to the file with the definition, so whoever takes a name from the face of a
room (`mod.rs`) depends on the file behind it. Declaring a child (`mod x;`) and handing its names on (`pub use x::Name;`) make no import.

What counts as a circle: in every folder the files and the folders that stand in it, each folder as a whole, must be free of circles.
The face of a folder (`mod.rs`, `lib.rs`, `main.rs`) is the folder itself and not one of its parts: it may use its files, and they may
use what it defines for the room, because a reader meets them together. Seen from outside, face and files are one room.

Tests do not count (`#[cfg(test)]`), because they stand above everything. Calls of methods are not seen.
"""
import ast
import re
import sys
import tempfile
import tomllib
from collections import deque
from pathlib import Path

# --- the rules ---

# Rooms of watermark-core from the ground up; each imports its own floor and those below it. A room that does not exist is no fault.
FLOORS = [["key", "prf"], ["scheme", "engine"], ["profile"], ["mark", "detect", "paired"], ["model_test"], ["evidence"]]
# What every room may import, and what these import themselves.
GROUND = {"error": set(), "hex": {"error"}, "lib": {"error", "hex"}, "stats": {"error"}}
NEVER = {("mark", "detect")}

# Which crates of the workspace a crate may depend on; tests and experiments (not named here) may depend on all of them.
CRATES = {
    "watermark-core": set(),
    "watermark-capi": {"watermark-core"},
    "watermark-toolkit": {"watermark-core"},
    "watermark-lab": {"watermark-core", "watermark-toolkit"},
    "watermark-cli": {"watermark-core", "watermark-toolkit", "watermark-lab"},
    "watermark-python": {"watermark-core", "watermark-toolkit"},
}


def room_rule(crate: str, source: str, target: str) -> str | None:
    """The rule that an import between two rooms breaks."""
    if crate != "watermark-core" or source == target:
        return None
    if source in GROUND:
        allowed = "".join(f"`{room}` and " for room in sorted(GROUND[source]))
        return None if target in GROUND[source] else f"`{source}` imports {allowed}no other room"
    if target in GROUND:
        return None
    if (source, target) in NEVER:
        return f"`{source}` never imports `{target}`"
    floor = {room: at for at, rooms in enumerate(FLOORS) for room in rooms}
    for room in (source, target):
        if room not in floor:
            return f"`{room}` is a room without a floor; give it one in FLOORS of {Path(__file__).name}"
    if floor[target] > floor[source]:
        return f"`{target}` stands above `{source}`"
    return None


# --- Rust ---

FACES = {"mod.rs", "lib.rs", "main.rs"}

LITERAL = re.compile(
    r"""//[^\n]*|(?P<block>/\*)|\bb?r(?P<hashes>\#*)"|\bb?"(?:\\.|[^"\\])*"|"(?:\\.|[^"\\])*"|'(?:\\(?:u\{[^}]*\}|x..|.)|[^'\\\n])'""",
    re.DOTALL,
)
TEST = re.compile(r"#\[cfg\((?:all\()?test\b[^\]]*\]")
# Stands right before the module.
ATTRIBUTE = re.compile(r'#\[path\s*=\s*"([^"]+)"\]\s*(?:pub(?:\([^)]*\))?\s+)?$')
MODULE = re.compile(r"\bmod\s+(\w+)\s*([;{])")
ITEM = re.compile(r"^pub(?:\([^)]*\))?\s+(?:struct|enum|trait|fn|const|static|type)\s+(\w+)", re.MULTILINE)
USE = re.compile(r"(?P<public>\bpub(?:\([^)]*\))?\s+)?\buse\s+(?P<tree>[^;]+);")
PATH = re.compile(r"(?<![\w:$])(?:::)?[A-Za-z_]\w*(?:\s*::\s*[A-Za-z_]\w*)+")


def blank(text: str, start: int, end: int) -> str:
    return text[:start] + re.sub(r"[^\n]", " ", text[start:end]) + text[end:]


def code_only(text: str) -> str:
    """The text with comments and literals blank; lines stay where they are."""
    at = 0
    while found := LITERAL.search(text, at):
        end = found.end()
        if found["block"]:
            depth = 1
            for mark in re.finditer(r"/\*|\*/", text[end:]):
                depth += 1 if mark[0] == "/*" else -1
                if depth == 0:
                    end += mark.end()
                    break
            else:
                end = len(text)
        elif found["hashes"] is not None:
            close = text.find('"' + found["hashes"], end)
            end = len(text) if close < 0 else close + 1 + len(found["hashes"])
        if not text[: found.start()].endswith("#[path = "):
            text = blank(text, found.start(), end)
        at = end
    return text


def block_end(text: str, start: int) -> int:
    """Where the item that begins at `start` ends: after its `;`, or its balanced braces."""
    depth = 0
    for at in range(start, len(text)):
        if text[at] == "{":
            depth += 1
        elif text[at] == "}":
            depth -= 1
            if depth == 0:
                return at + 1
        elif text[at] == ";" and depth == 0:
            return at + 1
    return len(text)


def without_tests(text: str) -> str:
    while found := TEST.search(text):
        text = blank(text, found.start(), block_end(text, found.end()))
    return text


class Module:
    """A module: its file, its children, and what its names stand for."""

    def __init__(self, file: Path, parent: "Module | None"):
        self.file, self.parent = file, parent
        self.children: dict[str, Module] = {}
        self.aliases: dict[str, tuple[str, ...]] = {}
        self.paths: list[tuple[tuple[str, ...], int]] = []

    def root(self) -> "Module":
        return self if self.parent is None else self.parent.root()

    def holds(self, other: "Module") -> bool:
        return other is self or (other.parent is not None and self.holds(other.parent))

    def follow(self, path: tuple[str, ...], seen: frozenset = frozenset()) -> tuple["Module", bool] | None:
        """The module that defines what a path names, and whether the path names the module itself; None outside the crate."""
        if not path or (self, path[0]) in seen:
            return None  # names of other crates that stand for each other
        first, rest = path[0], path[1:]
        if first not in ("crate", "self", "super"):
            seen |= {(self, first)}
        if first == "crate":
            here = self.root()
        elif first == "self":
            here = self
        elif first == "super":
            if self.parent is None:
                return None
            here = self.parent
        elif first in self.children:
            here = self.children[first]
        elif first in self.aliases and self.aliases[first][0] != first:
            return self.follow(self.aliases[first] + rest, seen)
        else:
            return None
        if not rest:
            return here, True
        if rest[0] == "super":
            return here.follow(rest, seen)
        if rest[0] in here.children or rest[0] in here.aliases:
            return here.follow(rest, seen)
        return here, False


def use_tree(tree: str) -> list[tuple[tuple[str, ...], str]]:
    """The paths of a `use` with the names that they get; a glob has the name `*`."""
    tree = tree.strip()
    brace = tree.find("{")
    if brace < 0:
        path, _, name = tree.partition(" as ")
        parts = tuple(part.strip() for part in path.strip().removeprefix("::").split("::"))
        if parts[-1] == "self":
            parts = parts[:-1] or parts
        return [(parts, name.strip() or parts[-1])]
    head = tuple(part.strip() for part in tree[:brace].strip().strip(":").split("::") if part.strip())
    found, depth, start = [], 0, brace + 1
    for at in range(brace + 1, len(tree)):
        if tree[at] == "{":
            depth += 1
        elif tree[at] == "}" and depth > 0:
            depth -= 1
        elif (tree[at] == "," or tree[at] == "}") and depth == 0:
            if item := tree[start:at].strip():
                for path, name in use_tree(item):
                    found.append((head, name if name != "self" else head[-1]) if path == ("self",) else (head + path, name))
            start = at + 1
    return found


def read_module(file: Path, parent: Module | None, folder: Path, files: list[Module]) -> Module:
    module = Module(file, parent)
    files.append(module)
    fill(module, without_tests(code_only(file.read_text(encoding="utf-8"))), folder, files, 1)
    if file.name in FACES:
        adopt(module, folder, files)
    return module


def adopt(face: Module, folder: Path, files: list[Module]) -> None:
    """Files that no `mod` names are declared by a macro of the face, which hands on what they define."""
    beside = [file for file in sorted(folder.glob("*.rs")) if file.name not in FACES]
    declared = {found[1] for file in [face.file, *beside] for found in MODULE.finditer(file.read_text(encoding="utf-8"))}
    for file in beside:
        if file.stem not in declared:
            face.children[file.stem] = read_module(file, face, folder / file.stem, files)
            for found in ITEM.finditer(file.read_text(encoding="utf-8")):
                face.aliases.setdefault(found[1], (file.stem, found[1]))


def fill(module: Module, text: str, folder: Path, files: list[Module], line: int) -> None:
    """Takes children, aliases and paths out of a module's text, which begins at a line of its file."""
    while found := MODULE.search(text):
        name, end = found[1], found.end()
        if found[2] == "{":
            end = block_end(text, found.start())
            inner = Module(module.file, module)
            files.append(inner)
            begin = line + text.count("\n", 0, found.end())
            fill(inner, text[found.end() : end - 1], folder / name, files, begin)
            module.children[name] = inner
        else:
            if by_path := ATTRIBUTE.search(text[: found.start()]):
                # A file that is named by its path has its modules beside it.
                module.children[name] = read_module(module.file.parent / by_path[1], module, module.file.parent, files)
                text = blank(text, by_path.start(), by_path.end())
            else:
                below = [path for path in (folder / f"{name}.rs", folder / name / "mod.rs") if path.is_file()]
                if below:
                    module.children[name] = read_module(below[0], module, folder / name, files)
        text = blank(text, found.start(), end)
    for found in list(USE.finditer(text)):
        at = line + text.count("\n", 0, found.start("tree"))
        for path, name in use_tree(found["tree"]):
            child = path[1] if path[0] == "self" and len(path) > 1 else path[0]
            handed_on = bool(found["public"]) and child in module.children
            if name == "*":
                path = path[:-1]
                if not handed_on:
                    module.paths.append((path + ("*",), at))
            else:
                module.aliases[name] = path
                if not handed_on:
                    module.paths.append((path, at))
        text = blank(text, found.start(), found.end())
    for found in PATH.finditer(text):
        path = tuple(part.strip() for part in found[0].removeprefix("::").split("::"))
        module.paths.append((path, line + text.count("\n", 0, found.start())))


Import = tuple[Path, Path, int, str]


def rust_imports(root: Path) -> list[Import]:
    """What the files below a crate's root file take from each other: from, to, line, name; the first of each pair."""
    modules: list[Module] = []
    read_module(root, None, root.parent, modules)
    found: dict[tuple[Path, Path], Import] = {}
    for module in modules:
        for path, line in module.paths:
            target = module.follow(path)
            if target is None or target[1] or target[0].file == module.file:
                continue
            pair = (module.file, target[0].file)
            if pair not in found or line < found[pair][2]:
                found[pair] = (*pair, line, path[-1])
    return list(found.values())


# --- Python ---


def python_imports(package: Path) -> list[Import]:
    """What the modules of a package take from each other, those of functions and of type checkers too."""
    files = {file.stem: file for file in sorted(package.glob("*.py"))}
    found: dict[tuple[Path, Path], Import] = {}
    for file in files.values():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"), str(file))):
            names: list[str] = []
            if isinstance(node, ast.ImportFrom) and (node.level == 1 or (node.module or "").split(".")[0] == package.name):
                module = node.module or ""
                module = module if node.level == 1 else module.partition(".")[2]
                # `from . import x` takes the module x, or a name of the package itself.
                names = [module.split(".")[0]] if module else [alias.name for alias in node.names]
                names = [name if name in files or (package / f"{name}.pyi").is_file() else "__init__" for name in names]
            elif isinstance(node, ast.Import):
                parts = [alias.name.split(".") for alias in node.names if alias.name.split(".")[0] == package.name]
                names = [part[1] if len(part) > 1 else "__init__" for part in parts]
            for name in names:
                if name in files and files[name] != file:
                    found.setdefault((file, files[name]), (file, files[name], node.lineno, name))
    return list(found.values())


# --- circles ---


def by_folder(imports: list[Import], top: Path) -> dict[Path, list[tuple[str, str, Import]]]:
    """The imports between two parts of one folder, with the names of the parts."""
    folders: dict[Path, list[tuple[str, str, Import]]] = {}
    for item in imports:
        source, target = (file.relative_to(top).parts for file in item[:2])
        depth = next(at for at in range(len(source)) if source[at] != target[at])
        if source[depth] in FACES or target[depth] in FACES:
            continue
        # x.rs and the folder x are one part.
        parts = [path[depth].removesuffix(".rs").removesuffix(".py") for path in (source, target)]
        if parts[0] != parts[1]:
            folders.setdefault(top.joinpath(*source[:depth]), []).append((*parts, item))
    return folders


def circle(edges: list[tuple[str, str, Import]]) -> list[tuple[str, str, Import]] | None:
    """A shortest circle, or None."""
    ways: dict[str, list[tuple[str, str, Import]]] = {}
    for edge in sorted(edges):
        ways.setdefault(edge[0], []).append(edge)
    best: list[tuple[str, str, Import]] | None = None
    for start in ways:
        came: dict[str, tuple[str, str, Import]] = {}
        queue = deque([start])
        while queue and start not in came:
            for edge in ways.get(queue.popleft(), []):
                if edge[1] not in came:
                    came[edge[1]] = edge
                    queue.append(edge[1])
        if start in came:
            path, at = [came[start]], came[start][0]
            while at != start:
                path.append(came[at])
                at = came[at][0]
            if best is None or len(path) < len(best):
                best = path[::-1]
    return best


def circles(imports: list[Import], top: Path) -> list[list[Import]]:
    """Circles until none is left; after each, the imports that close it are passed over."""
    found = []
    for edges in by_folder(imports, top).values():
        while (path := circle(edges)) is not None:
            found.append([edge[2] for edge in path])
            edges = [edge for edge in edges if edge[:2] != path[-1][:2]]
    return found


# --- the tree ---


def check(tree: Path) -> list[str]:
    """What is wrong, one message each."""
    faults: list[str] = []
    shown = lambda file: file.relative_to(tree).as_posix()  # noqa: E731

    def show(path: list[Import]) -> str:
        steps = [f"    {shown(source)}:{line} takes `{name}` from {shown(target)}" for source, target, line, name in path]
        return "\n".join(steps)

    manifests = {}
    for member in tomllib.loads((tree / "Cargo.toml").read_text(encoding="utf-8"))["workspace"]["members"]:
        manifest = tomllib.loads((tree / member / "Cargo.toml").read_text(encoding="utf-8"))
        manifests[manifest["package"]["name"]] = (tree / member, manifest)
    for crate, (folder, manifest) in manifests.items():
        if crate in CRATES:
            for other in sorted(set(manifest.get("dependencies", {})) & set(manifests) - CRATES[crate]):
                faults.append(f"{shown(folder)}/Cargo.toml: {crate} must not depend on {other} (core <- toolkit <- cli, python)")
        for root in (folder / "src" / "lib.rs", folder / "src" / "main.rs"):
            if not root.is_file():
                continue
            imports = rust_imports(root)
            for item in imports:
                source, target = (file.relative_to(folder / "src").with_suffix("").parts[0] for file in item[:2])
                if rule := room_rule(crate, source, target):
                    faults.append(f"{rule} (ARCHITECTURE.md, which way dependencies point):\n{show([item])}")
            faults += [f"parts of {crate} that import each other in a circle:\n{show(path)}" for path in circles(imports, root.parent)]
    package = tree / "python" / "watermark_core"
    if package.is_dir():
        found = circles(python_imports(package), package)
        faults += [f"modules of Python that import each other in a circle:\n{show(path)}" for path in found]
    return faults


# --- this script itself ---

SOUND = {
    "Cargo.toml": '[workspace]\nmembers = ["watermark-core", "python"]\n',
    "watermark-core/Cargo.toml": '[package]\nname = "watermark-core"\n',
    "watermark-core/src/lib.rs": """mod error;
pub mod mark;
pub mod detect;
pub mod stats;
pub use error::Error;
pub const MAX: u32 = 1;
""",
    "watermark-core/src/error.rs": "pub struct Error;\n",
    "watermark-core/src/mark/mod.rs": "//! crate::detect::Tally\nmod a;\nmod b;\npub use a::A;\npub use b::B;\n",
    "watermark-core/src/mark/a.rs": """use super::b::B;
use crate::{Error, MAX};
pub struct A(B);
fn f() -> &'static str { "crate::detect::Tally" }
""",
    "watermark-core/src/mark/b.rs": """pub struct B;
#[cfg(test)]
mod tests {
    use crate::detect::Tally;
    use super::super::A;
}
""",
    "watermark-core/src/detect/mod.rs": "mod tally;\npub use tally::Tally;\n",
    "watermark-core/src/detect/tally.rs": "use crate::stats;\npub struct Tally;\nfn f() { stats::tail(); }\n",
    "watermark-core/src/stats/mod.rs": "pub fn tail() {}\n",
    "python/Cargo.toml": '[package]\nname = "watermark-python"\n[dependencies]\nwatermark-core = "1"\n',
    "python/src/lib.rs": "",
    "python/watermark_core/__init__.py": "from ._lib import Detector\nfrom .corpus import scan\n",
    "python/watermark_core/_lib.pyi": "",
    "python/watermark_core/corpus.py": "from . import _lib\nfrom ._frame import frame\n",
    "python/watermark_core/_frame.py": "import json\n",
}
ATTIC = {"watermark-core/src/lib.rs": SOUND["watermark-core/src/lib.rs"] + "mod attic;\n"}
# Each: files in place of sound ones, and what the messages hold; nothing where there is no fault.
CASES = [
    ({}, []),
    # Paths in the code, aliases, lists over several lines.
    (
        {"watermark-core/src/mark/a.rs": "fn f() {\n    crate::detect::Tally;\n}\n"},
        ["`mark` never imports `detect`", "mark/a.rs:2", "tally.rs"],
    ),
    (
        {"watermark-core/src/mark/a.rs": "use crate::{\n    Error,\n    detect::{self as d},\n};\nfn f() { d::Tally; }\n"},
        ["`mark` never imports `detect`", "mark/a.rs:5"],
    ),
    (
        {"watermark-core/src/stats/mod.rs": "use crate::detect::Tally;\npub fn tail() {}\n"},
        ["`stats` imports `error` and no other room", "stats/mod.rs:1"],
    ),
    ({"watermark-core/src/error.rs": "pub struct Error;\nfn f(_: crate::detect::Tally) {}\n"}, ["`error` imports no other room"]),
    # A room that nobody has given a floor: no fault as long as it imports no other.
    (ATTIC | {"watermark-core/src/attic.rs": "use crate::Error;\n"}, []),
    (ATTIC | {"watermark-core/src/attic.rs": "use crate::mark::A;\n"}, ["`attic` is a room without a floor", "attic.rs:1"]),
    # Two files of a room, through the names that its face hands on.
    ({"watermark-core/src/mark/b.rs": "use super::A;\npub struct B;\n"}, ["circle", "mark/a.rs:1", "mark/b.rs:1"]),
    # A face and its child are one room.
    (
        {
            "watermark-core/src/mark/mod.rs": "mod a;\nmod b;\npub use b::B;\npub const N: u32 = 1;\nfn f() { a::A; }\n",
            "watermark-core/src/mark/a.rs": "use super::N;\npub struct A;\n",
        },
        [],
    ),
    # Rooms as wholes: no two files import each other, and yet each room needs the other.
    (
        {
            "watermark-core/src/detect/mod.rs": "mod tally;\nmod other;\npub use tally::Tally;\npub use other::Other;\n",
            "watermark-core/src/detect/other.rs": "use crate::mark::B;\npub struct Other;\n",
            "watermark-core/src/mark/a.rs": "use crate::detect::Tally;\npub struct A;\n",
        },
        ["circle", "detect/other.rs:1", "mark/a.rs:1"],
    ),
    # Files that a macro declares, and names that it hands on.
    (
        {
            "watermark-core/src/mark/mod.rs": "macro_rules! m { ($($x:ident $X:ident),*) => { $(mod $x; pub use $x::$X;)* } }\nm!(a A, b B);\n",
            "watermark-core/src/mark/a.rs": "use super::B;\npub struct A;\n",
            "watermark-core/src/mark/b.rs": "use super::A;\npub struct B;\n",
        },
        ["circle", "mark/a.rs:1", "mark/b.rs:1"],
    ),
    # A file that is named by its path: its modules stand beside it.
    (
        {
            "watermark-core/src/mark/mod.rs": "#[path = \"list.rs\"]\nmod list;\npub use list::*;\n",
            "watermark-core/src/mark/list.rs": "pub mod a;\npub mod b;\n",
            "watermark-core/src/mark/a.rs": "use crate::detect::Tally;\npub struct A;\n",
            "watermark-core/src/mark/b.rs": "pub struct B;\n",
        },
        ["`mark` never imports `detect`", "mark/a.rs:1"],
    ),
    ({"python/watermark_core/_frame.py": "def f():\n    from .corpus import ScanResult\n"}, ["circle", "_frame.py:2", "corpus.py:2"]),
    ({"python/watermark_core/corpus.py": "from . import scan\n"}, ["circle", "__init__.py:2", "corpus.py:1"]),
    (
        {"watermark-core/Cargo.toml": '[package]\nname = "watermark-core"\n[dependencies]\nwatermark-python = "1"\n'},
        ["watermark-core/Cargo.toml: watermark-core must not depend on watermark-python"],
    ),
]


def self_test() -> None:
    for changed, says in CASES:
        with tempfile.TemporaryDirectory() as folder:
            for name, text in (SOUND | changed).items():
                file = Path(folder, name)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8")
            faults = check(Path(folder))
        missed = [part for part in says if not any(part in fault for fault in faults)]
        assert not missed and bool(faults) == bool(says), (changed, missed, faults)
    assert code_only("a /* b /* c */ d */ e // f\n'\"' \"g\" r#\"h\"i\"# 'x j").split() == ["a", "e", "'x", "j"]
    tree = use_tree("a::{b::{c, d as e}, self, f::*}")
    assert tree == [(("a", "b", "c"), "c"), (("a", "b", "d"), "e"), (("a",), "a"), (("a", "f", "*"), "*")], tree


def main() -> None:
    if sys.argv[1:] == ["--self-test"]:
        self_test()
        print("check_modules: finds what it should")
        return
    if faults := check(Path(__file__).resolve().parent.parent):
        sys.exit("\n".join(faults))
    print("no circles between files, and every import between rooms points down")


if __name__ == "__main__":
    main()
