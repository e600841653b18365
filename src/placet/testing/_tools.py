"""Find the outside tools that some fakes drive, or say which Debian package has them."""

import shutil
from pathlib import Path


class ToolMissing(RuntimeError):
    """A tool that this fake drives is not installed on this machine.

    Attributes:
        tool: The program, file or module that was looked for.
        package: Where it comes from, a Debian package unless it says otherwise.
    """

    def __init__(self, tool: str, package: str) -> None:
        self.tool = tool
        self.package = package
        super().__init__(f"{tool} is not installed. Install it with: {_install_command(package)}")


def _install_command(package: str) -> str:
    return package if " " in package else f"apt-get install {package}"


def locate_program(name: str, package: str) -> Path:
    """Return the path of a program on ``PATH``.

    Args:
        name: The program, or an absolute path to it.
        package: The Debian package that has it, named when it is missing.

    Raises:
        ToolMissing: The program is not there.
    """
    found = shutil.which(name)
    if found is None:
        raise ToolMissing(name, package)
    return Path(found)


def locate_file(path: Path, package: str) -> Path:
    """Return ``path`` when it is a file.

    Raises:
        ToolMissing: The file is not there.
    """
    if not path.is_file():
        raise ToolMissing(str(path), package)
    return path
