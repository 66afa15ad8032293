"""The way of a kernel: looked up, compiled elsewhere, kept, shared, and done without."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lazytensor import native
from lazytensor.native import build, compiler, objects, store

REPOSITORY = Path(__file__).resolve().parents[2]
NEGATE = "def kernel(p): return -p"
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of this test's own, and a process that has not looked into it."""
    monkeypatch.setenv("LAZYTENSOR_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("LAZYTENSOR_NATIVE", raising=False)
    monkeypatch.setattr(build, "_builds", {})
    monkeypatch.setattr(store, "_said", set())
    return tmp_path / "cache" / "native"


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, bytes]:
    """File name and content of the kernel that negates."""
    folder = tmp_path_factory.mktemp("compiled")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAZYTENSOR_CACHE_DIR", str(folder))
        patch.setattr(build, "_builds", {})
        assert native.wait("negate", text=NEGATE)
    (file,) = folder.glob("native/*.o")
    return file.name, file.read_bytes()


@pytest.fixture
def kept(cache: Path, compiled: tuple[str, bytes]) -> Path:
    """The file of the kernel that negates, in this test's cache."""
    assert store.folder() == cache
    path = cache / compiled[0]
    path.write_bytes(compiled[1])
    return path


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError("no process can be started")

    monkeypatch.setattr(compiler, "start", refuse)


def script(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-X", "dev", "-c", textwrap.dedent(code)],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def eventually(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class TestCompiling:
    def test_a_kernel_comes_after_a_while(self, cache: Path) -> None:
        assert native.kernel("twice", text="def kernel(p): return 2 * p") is None
        run = native.wait("twice", text="def kernel(p): return 2 * p")
        assert run is not None and [run(21), run(-(2**62))] == [42, -(2**63)]
        assert native.kernel("twice", text="def kernel(p): return 2 * p") is run
        (file,) = cache.glob("*.o")
        assert file.name.startswith("twice-")
        assert not list(cache.glob("*.tmp"))
        if os.name == "posix":
            assert cache.stat().st_mode & 0o777 == 0o700
            assert file.stat().st_mode & 0o777 == 0o600

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("def kernel(p) return p", "SyntaxError"),
            ("def other(p): return p", "kernel"),
            ("raise RuntimeError('broken module')", "broken module"),
        ],
    )
    def test_a_source_that_is_wrong(
        self, cache: Path, caplog: pytest.LogCaptureFixture, text: str, said: str
    ) -> None:
        assert native.wait("wrong", text=text) is None
        assert said in (native.reason("wrong", text=text) or "")
        assert native.kernel("wrong", text=text) is None
        assert [record.levelno for record in caplog.records] == [logging.WARNING]

    def test_kernels_cannot_allocate(self, cache: Path) -> None:
        text = "import numpy as np\ndef kernel(p): return np.zeros(p)[0]"
        assert native.wait("allocates", text=text) is None
        assert native.reason("allocates", text=text)

    def test_only_symbols_of_every_process(self, cache: Path) -> None:
        text = """
from numba import types
missing = types.ExternalFunction("a_function_nobody_has", types.int64(types.int64))
def kernel(p): return missing(p)
"""
        assert native.wait("needs", text=text) is None
        assert "a_function_nobody_has" in (native.reason("needs", text=text) or "")
        assert not list(cache.glob("*.o"))

    def test_mathematics_is_in_every_process(self, cache: Path) -> None:
        text = "import math\ndef kernel(p): return int(1e6 * math.sin(p) * math.exp(p))"
        run = native.wait("mathematics", text=text)
        assert run is not None and run(1) == 2287355

    def test_a_kernel_that_raises_says_that_it_failed(self, cache: Path) -> None:
        """It should not, and there is nobody to catch it: no other answer looks like this one."""
        text = """
def kernel(p):
    if p < 0:
        raise ValueError("negative")
    return p
"""
        run = native.wait("raises", text=text)
        assert run is not None and [run(3), run(-3)] == [3, objects.FAILED]

    def test_code_that_does_not_load_is_tried_elsewhere(self) -> None:
        """LLVM does not survive it."""
        process = compiler.start("objects.trial", b"no object", separate=False)
        with pytest.raises(RuntimeError, match="the compiler failed"):
            compiler.finish(process, timeout=60)

    def test_a_compiler_that_hangs_is_ended(self) -> None:
        process = compiler.start("objects.trial", b"", separate=True)
        with pytest.raises(RuntimeError, match="still busy after"):
            compiler.finish(process, timeout=0.01)
        assert process.returncode

    def test_numba_that_does_not_import(
        self, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "numba.py").write_text("raise ImportError('numba needs another NumPy')")
        monkeypatch.syspath_prepend(tmp_path)
        assert native.wait("negate", text=NEGATE) is None
        assert "numba needs another NumPy" in (native.reason("negate", text=NEGATE) or "")

    def test_no_numba(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "numba", None)
        build._toolchain.cache_clear()
        assert native.wait("negate", text=NEGATE) is None
        build._toolchain.cache_clear()
        assert "numba is not installed" in (native.reason("negate", text=NEGATE) or "")

    def test_no_interpreter(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A program that embeds Python would be started a second time."""
        for name in ("", "/opt/viewer/viewer"):
            monkeypatch.setattr(sys, "executable", name)
            monkeypatch.setattr(build, "_builds", {})
            assert native.wait("negate", text=NEGATE) is None
            assert "no Python interpreter" in (native.reason("negate", text=NEGATE) or "")

    def test_no_process(self, cache: Path, no_compiler: None) -> None:
        assert native.wait("negate", text=NEGATE) is None
        assert "no process can be started" in (native.reason("negate", text=NEGATE) or "")

    def test_names_are_file_names(self) -> None:
        with pytest.raises(ValueError, match="name of a kernel"):
            native.kernel("../elsewhere")
        assert native.wait("no_such_kernel") is None
        assert "no_such_kernel" in (native.reason("no_such_kernel") or "")


@pytest.mark.usefixtures("no_compiler")
class TestKept:
    def test_it_is_found(self, kept: Path) -> None:
        run = native.kernel("negate", text=NEGATE)
        assert run is not None and run(5) == -5

    def test_another_source_is_another_kernel(self, kept: Path) -> None:
        assert native.kernel("negate", text=NEGATE + " # really") is None

    def test_loading_needs_no_numba(self, kept: Path) -> None:
        done = script(
            f"""
            import sys
            from lazytensor import native
            print(native.kernel("negate", text={NEGATE!r})(5))
            print(sorted({{"numba", "numpy.linalg"}} & set(sys.modules) - {{"numpy.linalg"}}))
            """
        )
        assert (done.stdout, done.stderr) == ("-5\n[]\n", "")

    def test_it_is_loaded_once_that_pays(self, kept: Path) -> None:
        cheap = build.LOAD_SECONDS * 0.4
        found = [native.kernel("negate", text=NEGATE, saves=cheap) is not None for _ in range(4)]
        assert found == [False, False, True, True]

    @pytest.mark.parametrize("value", ["0", "false", "off", "No"])
    def test_switched_off(self, kept: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
        assert native.kernel("negate", text=NEGATE)
        monkeypatch.setenv("LAZYTENSOR_NATIVE", value)
        assert native.kernel("negate", text=NEGATE) is native.wait("negate", text=NEGATE) is None
        monkeypatch.setenv("LAZYTENSOR_NATIVE", "1")
        assert native.kernel("negate", text=NEGATE)

    @pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "foreign"])
    def test_damaged_files_are_as_good_as_none(self, kept: Path, damage: str) -> None:
        content = bytearray(kept.read_bytes())
        content[-1] ^= damage == "flipped"
        size = {"cut": len(content) - 1, "empty": 0}.get(damage, len(content))
        kept.write_bytes(b"x" * 99 if damage == "foreign" else content[:size])
        assert native.wait("negate", text=NEGATE) is None  # and no process to compile it again

    @pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no owners here")
    def test_files_of_others_are_not_run(
        self, kept: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        kept.chmod(0o666)
        assert native.wait("negate", text=NEGATE) is None
        assert "written to by other users" in caplog.text
        kept.chmod(0o600)
        me = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: me + 1)
        monkeypatch.setattr(build, "_builds", {})
        assert native.wait("negate", text=NEGATE) is None
        assert f"belongs to user {me}" in caplog.text

    @needs_fork
    @pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
    def test_forked_children_run_it(self, kept: Path) -> None:
        run = native.kernel("negate", text=NEGATE)
        assert run is not None
        pid = os.fork()
        if pid == 0:
            same = native.kernel("negate", text=NEGATE) is run
            os._exit(100 + run(5) if same else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 95


class TestFolder:
    def test_a_damaged_file_is_compiled_again(self, kept: Path) -> None:
        good = store.read(kept)
        kept.write_bytes(kept.read_bytes()[:-1])
        assert native.wait("negate", text=NEGATE)
        assert store.read(kept) == good

    def test_a_folder_that_cannot_be(self, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
        """It is compiled for this process alone, and one line in the log says so."""
        cache.parent.write_text("a file where the folder should be")
        run = native.wait("negate", text=NEGATE)
        assert run is not None and run(5) == -5
        assert native.wait("negate", text="def kernel(p): return 0") is not None
        assert [record.name for record in caplog.records] == ["lazytensor.native"]
        assert "LAZYTENSOR_CACHE_DIR" in caplog.text

    def test_a_folder_others_can_write_to(
        self, cache: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        cache.mkdir(parents=True)
        cache.chmod(0o777)
        if cache.stat().st_mode & 0o777 != 0o777:
            pytest.skip("no such permissions here")
        assert store.folder() is None
        assert "written to by other users" in caplog.text

    @pytest.mark.parametrize(
        ("platform", "environment", "expected"),
        [
            ("linux", {}, "home/.cache/lazytensor"),
            ("linux", {"XDG_CACHE_HOME": "relative"}, "home/.cache/lazytensor"),
            ("linux", {"XDG_CACHE_HOME": "/xdg"}, "/xdg/lazytensor"),
            ("darwin", {}, "home/Library/Caches/lazytensor"),
            ("win32", {}, "home/AppData/Local/lazytensor/Cache"),
            ("win32", {"LOCALAPPDATA": "/local"}, "/local/lazytensor/Cache"),
            ("linux", {"LAZYTENSOR_CACHE_DIR": "/chosen"}, "/chosen"),
        ],
    )
    def test_where_it_is(
        self,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
        platform: str,
        environment: dict[str, str],
        expected: str,
    ) -> None:
        if sys.platform == "win32":
            pytest.skip("paths of the other platforms")
        for name in ("XDG_CACHE_HOME", "LOCALAPPDATA", "LAZYTENSOR_CACHE_DIR"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "platform", platform)
        assert store._base() == tmp_path / expected

    def test_without_a_home(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def no_home(path: Path) -> Path:
            raise RuntimeError("Could not determine home directory.")

        monkeypatch.delenv("LAZYTENSOR_CACHE_DIR", raising=False)
        monkeypatch.setattr(store, "_said", set())
        monkeypatch.setattr(Path, "expanduser", no_home)
        assert store.folder() is None
        assert "home directory" in caplog.text

    def test_a_file_that_cannot_be_written(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(store, "_said", set())
        store.write(tmp_path / "missing" / "kernel.o", b"code")
        assert "not kept" in caplog.text
        (tmp_path / "kernel.o").mkdir()
        store.write(tmp_path / "kernel.o", b"code")
        assert [path.name for path in tmp_path.iterdir()] == ["kernel.o"]


class TestProcesses:
    """Programs that end, fork or are interrupted while a kernel is compiled for them."""

    START = f"from lazytensor import native; native.kernel('negate', text={NEGATE!r});"

    def test_the_work_outlives_a_short_program(self, cache: Path) -> None:
        done = script(self.START)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        eventually(lambda: list(cache.glob("*.o")))

    @needs_fork
    def test_a_fork_meanwhile(self, cache: Path) -> None:
        """Parent and child both get the kernel, which was compiled once."""
        done = script(
            f"""
            import os, sys, warnings
            warnings.simplefilter("ignore", DeprecationWarning)
            {self.START}
            child = os.fork()
            run = native.wait("negate", text={NEGATE!r})
            if child == 0:
                os._exit(run(-7))
            status = os.waitpid(child, 0)[1]
            print(run(5), os.waitstatus_to_exitcode(status))
            """
        )
        assert (done.stdout, done.stderr) == ("-5 7\n", "")

    @pytest.mark.skipif(os.name != "posix", reason="process groups")
    def test_an_interrupt_meanwhile(self, cache: Path) -> None:
        """Ctrl-C goes to all processes of the terminal, but not to the compiler."""
        code = f"""
            {self.START}
            try:
                print("started", flush=True)
                native.wait("negate", text={NEGATE!r})
            except KeyboardInterrupt:
                print(native.wait("negate", text={NEGATE!r})(5))
            """
        with subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code)],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # A runner may have it ignored, and children inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "started\n"
            os.killpg(process.pid, signal.SIGINT)
            assert process.stdout.read() == "-5\n"

    def test_several_at_once(self, cache: Path) -> None:
        code = f"{self.START} print(native.wait('negate', text={NEGATE!r})(5))"
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", code], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
            )
            for _ in range(3)
        ]
        assert [process.communicate(timeout=60)[0] for process in processes] == ["-5\n"] * 3
        assert len(list(cache.glob("*.o"))) == 1
