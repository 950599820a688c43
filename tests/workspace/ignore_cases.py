# SPDX-License-Identifier: MIT
"""Random directories with ignore files, and ignore files as projects have them."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.workspace.ignore_reference import Case

# Few letters, so that patterns and names meet often.
NAMES = [
    *(b"a", b"b", b"ab", b"ba", b"aab", b"a.b", b"b.a.b", b".a", b"A", b"1", b"abab"),
    *(b" ", b" a", b"a ", b"a  ", b"!a", b"#a", b"a\\", b"\\a", b"[a]", b"]", b"a*", b"**", b"?", b"-", b"^", b":"),
    *(b"\xff", b"a\xfe", "ü".encode(), b"a\r", b"\n", b"a\tb", b"a/b".replace(b"/", b"\\"), b"\xef\xbb\xbfa"),
]
names = st.one_of(
    st.sampled_from(NAMES[:11]),
    st.sampled_from(NAMES),
    st.binary(min_size=1, max_size=4)
    .map(lambda raw: raw.translate(bytes.maketrans(b"/\0", b"ab")))
    .filter(lambda name: name not in (b".", b"..")),
)
paths = st.lists(names, min_size=1, max_size=4).map(b"/".join)

PIECES = [
    *(b"a", b"b", b"a", b"b", b"ab", b".", b"*", b"*", b"*", b"**", b"**/", b"/**", b"/**/", b"/", b"/", b"?", b"?"),
    *(b"[ab]", b"[!a]", b"[^b]", b"[a-b]", b"[[:alpha:]]", b"[![:space:]]", b"[]a]", b"[a-]", b"[\\]a]", b"[b-a]"),
    *(b"[", b"]", b"[a", b"[[:x:]]", b"[[:a]", b"[a-\\b]", b"[.-a]", b"[:", b":]", b"-", b"^"),
    *(b"\\", b"\\*", b"\\a", b"\\ ", b"\\/", b"\\\\", b" ", b"  ", b"!", b"#", b"\xff", b"\t", b"\r", b"\0", b"***"),
]


@st.composite
def alike(draw: st.DrawFn, path: bytes) -> bytes:
    """A pattern made from a path: some of it replaced by wildcards."""
    out = []
    for letter in path:
        how = draw(st.integers(0, 11))
        one = bytes((letter,))
        out.append({0: b"*", 1: b"?", 2: b"[!q]", 3: b"\\" + one, 4: b"**", 5: b""}.get(how, one))
    return b"".join(out)


@st.composite
def near(draw: st.DrawFn, path: bytes) -> bytes:
    """A pattern made from a path: some components gone, or stars in their place."""
    parts = []
    for part in path.split(b"/"):
        how = draw(st.integers(0, 7))
        parts.append({0: b"*", 1: b"**", 2: b"*" + part[-1:], 3: part[:1] + b"*", 4: draw(alike(part))}.get(how, part))
    parts = parts[draw(st.integers(0, len(parts) - 1)) :]
    return draw(st.sampled_from([b"", b"", b"/", b"**/"])) + b"/".join(parts) + draw(st.sampled_from([b"", b"", b"/"]))


def patterns(path: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Patterns, some of them near to a path."""
    return st.one_of(
        st.lists(st.sampled_from(PIECES), min_size=1, max_size=7).map(b"".join),
        path.flatmap(near),
        path.flatmap(alike),
    )


def contents(path: st.SearchStrategy[bytes], lines: int) -> st.SearchStrategy[bytes]:
    """Ignore files about paths like ``path``."""
    line = st.tuples(
        st.sampled_from([b"", b"", b"", b"!", b"#", b" "]),
        patterns(path),
        st.sampled_from([b"\n", b"\n", b"\n", b"\r\n", b" \n", b" \r\n", b"\r", b"\n\n", b"  \n", b"\\ \n"]),
    ).map(b"".join)
    start = st.sampled_from([b"", b"", b"", b"\xef\xbb\xbf"])
    return st.tuples(start, st.lists(line, min_size=1, max_size=lines).map(b"".join)).map(b"".join)


def _without_folders(files: list[bytes], folders: list[bytes]) -> list[bytes]:
    """Those of ``files`` that are not folders as well."""
    taken = set(folders)
    for path in [*files, *folders]:
        while b"/" in path:
            path = path.rpartition(b"/")[0]
            taken.add(path)
    return [path for path in files if path not in taken]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A small directory with ignore files at several levels."""
    drawn = draw(st.lists(paths, min_size=2, max_size=14, unique=True))
    folders = draw(st.lists(paths, max_size=3))
    files = _without_folders(drawn, folders)
    places = [b""]
    for path in drawn:
        parts = path.split(b"/")
        places += [b"/".join(parts[:depth]) + b"/" for depth in range(1, len(parts))]
    ignores: dict[bytes, tuple[bytes, bytes]] = {}
    for prefix in draw(st.lists(st.sampled_from(places), max_size=4, unique=True)):
        inside = [path[len(prefix) :] for path in drawn if path.startswith(prefix)]
        about = contents(st.sampled_from(inside), 6)
        # Ours come after a line's end, where a mark of UTF-8 is none.
        after = about.map(lambda content: content.removeprefix(b"\xef\xbb\xbf"))
        ignores[prefix] = (draw(about), draw(st.one_of(st.just(b""), after)))
    exclude = draw(st.one_of(st.just(b""), contents(st.sampled_from(drawn), 3)))
    return Case(files, folders, ignores, exclude)


PYTHON = b"""# Byte-compiled
__pycache__/
*.py[codz]
*$py.class
*.so
# Packaging
build/
develop-eggs/
dist/
/lib/
lib64/
*.egg-info/
.installed.cfg
*.egg
MANIFEST
*.manifest
pip-log.txt
htmlcov/
.tox/
.coverage
.coverage.*
*.cover
*,cover
.hypothesis/
docs/_build/
.ipynb_checkpoints
profile_default/
.env
.venv
env/
venv/
ENV/
.spyderproject
/site
.mypy_cache/
cython_debug/
"""

NODE = b"""logs
*.log
npm-debug.log*
report.[0-9]*.[0-9]*.[0-9]*.[0-9]*.json
pids
*.pid
*.seed
lib-cov
coverage/
*.lcov
.grunt
bower_components
build/Release
node_modules/
*.tsbuildinfo
.npm
.env
.env.*
!.env.example
.next
out
dist/*
!dist/keep
**/.vitepress/dist
.yarn/*
!.yarn/patches
!.yarn/plugins
.pnp.*
"""

CPP = b"""*.d\r
*.slo\r
*.lo\r
*.o\r
*.obj\r
*.gch\r
*.so\r
*.so.*\r
*.dylib\r
[Dd]ebug/\r
[Rr]elease/\r
x64/\r
[Bb]in/\r
!third_party/**/[Bb]in/\r
*.[Pp]ublish.xml\r
**/[Pp]ackages/*\r
!**/[Pp]ackages/build/\r
cmake-build-*/\r
CMakeFiles/\r
/build*/\r
compile_commands.json\r
~$*\r
*~\r
\\#*\\#\r
.\\#*\r
*.VC.db\r
"""

PROJECT_PATHS = [
    *(
        b"a.py",
        b"a.pyc",
        b"a.pyo",
        b"pkg/__pycache__/a.cpython-311.pyc",
        b"__pycache__",
        b"x$py.class",
        b"m.so",
        b"m.so.1",
    ),
    *(b"build/x", b"src/build/x", b"lib/x", b"src/lib/x", b"lib64/y", b"p.egg-info/PKG-INFO", b"p.egg", b"MANIFEST"),
    *(b"docs/_build/html/i.html", b"docs/src/_build/x", b".env", b".env.local", b".env.example", b"a,cover", b"site/i"),
    *(b"src/site/i", b".coverage", b".coverage.host.1", b"ENV/bin/python", b"env", b"venv/x", b".tox/py/x", b"x.cover"),
    *(b"logs/a", b"src/logs", b"npm-debug.log.1", b"report.1.2.3.4.json", b"report.x.json", b"node_modules/a/index.js"),
    *(b"packages/b/node_modules/c/d.js", b"build/Release/x.node", b"build/Debug/x", b"dist/keep", b"dist/other/x"),
    *(
        b"docs/.vitepress/dist/x",
        b".vitepress/dist",
        b".yarn/patches/a",
        b".yarn/cache/b",
        b".yarn/plugins",
        b".pnp.cjs",
    ),
    *(b"a.d", b"a.o", b"sub/b.obj", b"Debug/x", b"debug/y", b"Release", b"third_party/z/bin/t", b"bin/t", b"src/Bin/t"),
    *(
        b"Packages/build/x",
        b"src/packages/q/x",
        b"packages/build",
        b"cmake-build-debug/x",
        b"src/cmake-build-",
        b"CMakeFiles/x",
    ),
    *(
        b"build-2/x",
        b"src/build-2/x",
        b"~$doc",
        b"a~",
        b"#a#",
        b".#a",
        b"x.VC.db",
        b"x.Publish.xml",
        b"compile_commands.json",
    ),
]
