"""Builds the wheel and the source archive, and uses the wheel as a user would: `make wheel`.

The wheel is built from the source archive, so both are complete if it is. It is installed alone in
an empty environment, without a compiler, and the command runs there, outside this repository.
"""

import os
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TEXT = "He was born in [MASK] and died in London."


def main() -> None:
    """Raises CalledProcessError or AssertionError at what does not work."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build = [sys.executable, "-m", "build", "--outdir", str(folder / "dist"), str(ROOT)]
        subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
        [wheel] = (folder / "dist").glob("*.whl")
        [archive] = (folder / "dist").glob("*.tar.gz")
        differing = packed(wheel) ^ in_the_repository()
        assert not differing, f"in the wheel or in git, but not in both: {sorted(differing)}"

        venv.create(folder / "env", with_pip=True)
        programs = folder / "env" / "bin"
        # Only the environment's programs: no compiler, and nothing else that was installed here.
        alone = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        alone |= {"PATH": str(programs), "CC": "no-compiler", "CXX": "no-compiler"}

        def run(program: str, *arguments: str) -> str:
            command = [str(programs / program), *arguments]
            done = subprocess.run(
                command, check=True, cwd=folder, env=alone, stdout=subprocess.PIPE, text=True
            )
            return done.stdout

        constraints = str(ROOT / "constraints.txt")
        run("python", "-m", "pip", "install", "--quiet", "--constraint", constraints, str(wheel))
        version = run("bertsmith", "--version").split()[-1]
        assert wheel.name.startswith(f"bertsmith-{version}-"), version
        words = run("bertsmith", "fill", "tiny-en", TEXT)
        assert "london" in words, words
        words = run("bertsmith", "fill", "tiny-zh", "我喜欢吃苹[MASK]。")
        assert "果" in words, words

        (ROOT / "dist").mkdir(exist_ok=True)
        for made in (wheel, archive):
            made.replace(ROOT / "dist" / made.name)
            print(f"dist/{made.name}")


def packed(wheel: Path) -> set[str]:
    """The files of the package in the wheel."""
    with zipfile.ZipFile(wheel) as file:
        return {name for name in file.namelist() if name.startswith("bertsmith/")}


def in_the_repository() -> set[str]:
    """The files of the package that git knows."""
    listed = ["git", "ls-files", "bertsmith"]
    done = subprocess.run(listed, cwd=ROOT / "src", check=True, stdout=subprocess.PIPE, text=True)
    return set(done.stdout.splitlines())


if __name__ == "__main__":
    main()
