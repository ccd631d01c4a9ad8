"""A Visdom server that needs no internet to start: its front end is fetched once, checked, and kept.

``python -m ignite_pipeline.board.server`` serves an empty one until its standard input ends.
"""

import hashlib
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from urllib.request import urlopen

from ignite_pipeline.errors import BadInput

PORT = 8097
_MOST_BODY_BYTES = 2**27  # room for the largest image that a run shows, in base64

# What Visdom's page needs and its package lacks: package on npm, file in it, place, SHA-256.
_FILES = """
jquery@3.1.1 dist/jquery.min.js js/jquery.min.js
  85556761a8800d14ced8fcd41a6b8b26bf012d44a318866c0d81a62092efd9bf
plotly.js-dist-min@2.11.1 plotly.min.js js/plotly-plotly.min.js
  dd146b2db18d4ced4743018fa65ada14b723bf1aae08b559a5576ba8116cd889
layout-bin-packer@1.4.0 dist/layout-bin-packer.js js/layout_bin_packer.js
  312ed1834f78f497ac3c9e943ce4657679d26ad8cd62d7f722912d26c9d0ed29
bootstrap@3.3.7 dist/css/bootstrap.min.css css/bootstrap.min.css
  f75e846cc83bd11432f4b1e21a45f31bc85283d11d372f7b19accd1bf6a2635c
bootstrap@3.3.7 dist/js/bootstrap.min.js js/bootstrap.min.js
  53964478a7c634e8dad34ecc303dd8048d00dce4993906de1bacf67f663486ef
bootstrap@3.3.7 dist/fonts/glyphicons-halflings-regular.woff2 fonts/glyphicons-halflings-regular.woff2
  fe185d11a49676890d47bb783312a0cda5a44c4039214094e7957b4c040ef11c
react-resizable@1.4.6 css/styles.css css/react-resizable-styles.css
  7c9122a97c86b4be7839fd3d23c37d06aec1ece3ef830f8bae3a8c121056d528
react-grid-layout@0.16.3 css/styles.css css/react-grid-layout-styles.css
  4ec035a50c31ec008bab5794e88ef056043e63aaa8dcbb24d36e5a73780b4dbc
sjcl@1.0.7 sjcl.js js/sjcl.js
  d09a8688f37c7442bb1e6699b46efb191d9281ef05a492586fa0f54dc4e5110a
"""
FRONT_END = [line.split() for line in _FILES.replace("\n  ", " ").strip().splitlines()]


def cache_directory() -> Path:
    """Return where this user's programs keep what they can fetch again."""
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or Path.home() / ".cache"
    return Path(base) / "ignite_pipeline"


def front_end() -> Path:
    """Return the directory of a complete front end; make it first where there is none.

    `BadInput` is raised, with what to do, if there is no Visdom, or its files cannot be fetched.
    """
    try:
        directory = cache_directory() / f"visdom-{version('visdom')}"
    except PackageNotFoundError:
        raise BadInput(
            "a board needs the package visdom, the extra [visdom]: docs/board.md says how to install it"
        ) from None
    if not _is_complete(directory):
        print(f"Fetching Visdom's front end, once, into {directory}", file=sys.stderr, flush=True)
        try:
            directory.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=directory.parent) as temporary:
                _assemble(Path(temporary) / "static")
                shutil.rmtree(directory, ignore_errors=True)
                os.replace(Path(temporary) / "static", directory)
        except OSError as error:
            raise BadInput(f"no front end for Visdom: {error}") from error
    return directory


def _is_complete(directory: Path) -> bool:
    files = [(directory / place, digest) for _, _, place, digest in FRONT_END]
    return all(path.is_file() and _sha256(path.read_bytes()) == digest for path, digest in files)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _assemble(directory: Path) -> None:
    # Found, not imported: visdom's package takes a second, and logs as it is imported.
    shutil.copytree(Path(str(distribution("visdom").locate_file("visdom/static"))), directory)
    for name, file, place, digest in FRONT_END:
        content = _fetch(name, file)
        if _sha256(content) != digest:
            raise OSError(f"{name}/{file} is not the file that it should be: its SHA-256 differs")
        (directory / place).parent.mkdir(exist_ok=True)
        (directory / place).write_bytes(content)
    page = directory / "index.html"
    page.write_text(_adapted(page.read_text(), directory))


def _fetch(package: str, file: str) -> bytes:
    """Return a file of a package on npm: through npm where it is installed, else from unpkg.com."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            command = ["npm", "pack", package, "--silent", "--pack-destination", folder]
            subprocess.run(command, check=True, capture_output=True, timeout=60)
            (archive,) = Path(folder).iterdir()
            with tarfile.open(archive) as files:
                content = files.extractfile(f"package/{file}")
                if content is None:
                    raise KeyError(f"{file} is no file")
                return content.read()
        except (
            OSError,
            subprocess.SubprocessError,
            ValueError,
            KeyError,
            EOFError,
            tarfile.TarError,
        ) as npm:
            try:
                with urlopen(f"https://unpkg.com/{package}/{file}", timeout=10) as answer:
                    return bytes(answer.read())
            except OSError as error:
                raise OSError(
                    f"{package}, a part of Visdom's front end, came neither through npm ({npm}) nor"
                    f" from unpkg.com ({error}); install npm or go online, once"
                ) from error


def _adapted(page: str, directory: Path) -> str:
    """Return Visdom's page without what is not there, its style sheet named as any tornado takes it."""
    page = page.replace(
        '{{ static_url("../user/style.css") }}',
        "{{ handler.settings['static_url_prefix'] }}../user/style.css",
    )

    def is_there(line: str) -> bool:
        file = re.search(r"""static_url\(['"](.+?)['"]\)""", line)
        return file is None or (directory / file[1]).exists()

    return "".join(line for line in page.splitlines(keepends=True) if is_there(line))


def credentials() -> tuple[str | None, str | None]:
    """Return user name and password from VISDOM_USERNAME and VISDOM_PASSWORD: both, or none."""
    username, password = os.environ.get("VISDOM_USERNAME"), os.environ.get("VISDOM_PASSWORD")
    if bool(username) != bool(password):
        raise BadInput("VISDOM_USERNAME and VISDOM_PASSWORD belong together: set both or none")
    return username or None, password or None


def serve(
    static: Path, ports: Sequence[int], ready: Callable[[int], object], *, host: str = "127.0.0.1"
) -> None:
    """Serve the front end in ``static`` on the first of ``ports`` that is free; 0 is any that is.

    ``ready`` is called with the port. The server asks for the `credentials`, if any, and refuses what pages
    of other origins ask of it. `BadInput` is raised if no port is free.
    """
    username, password = credentials()
    from tornado.httpserver import HTTPServer
    from tornado.ioloop import IOLoop
    from tornado.netutil import bind_sockets
    from visdom.server import app
    from visdom.utils.server_utils import hash_password

    from ignite_pipeline.board.origin import OwnOriginOnly

    for port in ports:
        try:
            sockets = bind_sockets(port, address=host, reuse_port=False)
            break
        except OSError as error:
            if port == ports[-1]:
                raise BadInput(f"port {port} of {host} is not free: {error.strerror}") from error
    app.tornado_settings.update(static_path=str(static), template_path=str(static), autoreload=False)
    views = cache_directory() / "visdom-environments"  # where Visdom keeps what is saved from its page
    port = sockets[0].getsockname()[1]
    application = app.Application(port=port, base_url="", env_path=str(views))
    if username is not None:
        application.user_credential = {
            "username": username,
            "password": hash_password(hash_password(password)),
        }
        application.login_enabled = True
        application.settings["cookie_secret"] = secrets.token_hex()
    server = HTTPServer(OwnOriginOnly(application, host=host), max_buffer_size=_MOST_BODY_BYTES)
    server.add_sockets(sockets)
    ready(port)
    IOLoop.current().start()


def is_answering(port: int, host: str = "localhost") -> bool:
    """Return whether something listens there."""
    try:
        socket.create_connection((host, port), timeout=0.3).close()
    except OSError:
        return False
    return True


@contextmanager
def served() -> Iterator[int]:
    """Let another process serve meanwhile, and give its port; it ends with this one, however that ends."""
    command = [sys.executable, "-m", "ignite_pipeline.board.server"]
    # In a session of its own: a Ctrl-C is for the run, which still has something to show as it ends.
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as server:
        try:
            line = server.stdout.readline() if server.stdout else b""
            if not line:
                raise OSError("the Visdom server did not start; python -m ignite_pipeline.board says why")
            yield int(line)
        finally:
            server.terminate()


def main() -> None:
    """Serve on the usual port or any, until standard input ends: the process that began it is then gone."""

    def end_with_parent() -> None:
        sys.stdin.read()
        os._exit(0)

    def tell_parent(port: int) -> None:
        print(port, flush=True)
        sys.stdout = open(os.devnull, "w")  # nobody reads more than that  # noqa: SIM115

    threading.Thread(target=end_with_parent, daemon=True).start()
    serve(front_end(), (PORT, 0), tell_parent)


if __name__ == "__main__":
    main()
