"""Downloads, against a server on this machine that can break off, resume, or not."""

import hashlib
import io
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from espnet_audiollm.corpus.download import download, unpack

CONTENT = bytes(range(256)) * 40
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture
def server():
    """A server with .url; .stop_after (bytes) makes it break off, .ranges says what was asked."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked = self.headers.get("Range")
            here.ranges.append(asked)
            if self.path != "/file":
                return self.send_error(404)
            start = int(asked[len("bytes=") : -1]) if asked and here.resumes else 0
            if start >= len(CONTENT):
                return self.send_error(416)
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(CONTENT) - start))
            self.end_headers()
            self.wfile.write(CONTENT[start : here.stop_after])

        def log_message(self, *args):
            pass

    here = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    here.url = f"http://127.0.0.1:{here.server_port}/file"
    here.stop_after, here.resumes, here.ranges = None, True, []
    thread = threading.Thread(target=here.serve_forever, daemon=True)
    thread.start()
    yield here
    here.shutdown()
    here.server_close()


def test_download_once(server, tmp_path):
    for _ in range(2):
        download(server.url, tmp_path / "sub" / "file", MD5)
    assert (tmp_path / "sub" / "file").read_bytes() == CONTENT
    assert server.ranges == [None]


@pytest.mark.parametrize("resumes", [True, False])
def test_broken_off_then_resumed(server, tmp_path, resumes):
    server.resumes, server.stop_after = resumes, 3000
    with pytest.raises(ValueError, match="run again to go on"):
        download(server.url, tmp_path / "file", MD5)
    assert [p.name for p in tmp_path.iterdir()] == ["file.part"]
    server.stop_after = None
    download(server.url, tmp_path / "file", MD5)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=3000-"]


def test_killed_before_the_check(server, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT)
    download(server.url, tmp_path / "file", MD5)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_wrong_checksum_is_removed(server, tmp_path):
    with pytest.raises(ValueError, match=f"checksum is {MD5}, not 00"):
        download(server.url, tmp_path / "file", "00")
    assert not list(tmp_path.iterdir())


def test_no_network_and_no_file(server, tmp_path):
    with pytest.raises(ValueError, match="Not Found"):
        download(server.url + "s", tmp_path / "file")
    port = server.server_port
    server.server_close()
    with pytest.raises(ValueError, match="cannot be downloaded .* name its directory"):
        download(f"http://127.0.0.1:{port}/file", tmp_path / "file")


def make_tar(path, *names):
    with tarfile.open(path, "w:gz") as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(CONTENT)
            tar.addfile(member, io.BytesIO(CONTENT))


def test_unpack(tmp_path):
    make_tar(tmp_path / "a.tar.gz", "Corpus/part/x.flac", "Corpus/README")
    unpack(tmp_path / "a.tar.gz", tmp_path / "Corpus" / "part", "Corpus/part")
    assert (tmp_path / "Corpus" / "part" / "x.flac").read_bytes() == CONTENT
    assert [p.name for p in (tmp_path / "Corpus").iterdir()] == ["part"]


@pytest.mark.parametrize(
    "names, cut, message",
    [
        (["Corpus/other/x"], None, "holds no Corpus/part"),
        (["Corpus/part/x"], 60, "damaged"),
        (["Corpus/part/x", "../../evil"], None, "damaged .*outside"),
    ],
)
def test_unpack_refuses(tmp_path, names, cut, message):
    archive = tmp_path / "a.tar.gz"
    make_tar(archive, *names)
    archive.write_bytes(archive.read_bytes()[:cut])
    with pytest.raises(ValueError, match=message):
        unpack(archive, tmp_path / "deep" / "er" / "part", "Corpus/part")
    assert not (tmp_path / "deep" / "er" / "part").exists()
    assert not list(tmp_path.rglob("evil"))
