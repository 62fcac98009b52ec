"""Downloads, against a server on this machine that can break off, resume, or not."""

import hashlib
import io
import tarfile
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from espnet_audiollm.corpus.download import Redirects, download, unpack

CONTENT = bytes(range(256)) * 40
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture
def server():
    """A server with .url; .stop_after (bytes) makes it break off, .ranges says what was asked."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked = self.headers.get("Range")
            here.ranges.append(asked)
            if self.path == "/chunks":
                self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\nab")
                return
            if self.path == "/status":
                self.wfile.write(b"oops\r\n\r\n")
                return
            if self.path == "/away":
                self.send_response(302)
                self.send_header("Location", "ftp://127.0.0.1/file")
                return self.end_headers()
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


@pytest.mark.parametrize("path", ["chunks", "status"])
def test_what_is_no_answer_is_a_sentence(server, tmp_path, path):
    with pytest.raises(ValueError, match="cannot be downloaded .*run again to go on"):
        download(server.url.replace("file", path), tmp_path / "file")
    assert not (tmp_path / "file").exists()


def test_only_http_and_https_are_fetched(server, tmp_path):
    (tmp_path / "here").write_bytes(CONTENT)
    for url in (f"file://{tmp_path}/here", "ftp://127.0.0.1/file", server.url[:-4] + "away"):
        with pytest.raises(ValueError, match="only http and https addresses are fetched"):
            download(url, tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


def test_https_leads_to_no_http():
    request = urllib.request.Request("https://example.org/a")
    follow = Redirects().redirect_request
    with pytest.raises(ValueError, match="http://example.org/b: only https addresses"):
        follow(request, None, 302, "Found", {}, "http://example.org/b")
    assert follow(request, None, 302, "Found", {}, "https://example.org/b").full_url.endswith("/b")


def make_tar(path, *names, level=9):
    with tarfile.open(path, "w:gz", compresslevel=level) as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(CONTENT)
            tar.addfile(member, io.BytesIO(CONTENT))


def test_unpack(tmp_path):
    make_tar(tmp_path / "a.tar.gz", "Corpus/part/x.flac", "Corpus/README")
    unpack(tmp_path / "a.tar.gz", tmp_path / "Corpus" / "part", "Corpus/part")
    assert (tmp_path / "Corpus" / "part" / "x.flac").read_bytes() == CONTENT
    assert [p.name for p in (tmp_path / "Corpus").iterdir()] == ["part"]


def make_link(archive, kind, name, target, inside="Corpus/part/x"):
    with tarfile.open(archive, "w") as tar:
        member = tarfile.TarInfo(inside)
        member.size = len(CONTENT)
        tar.addfile(member, io.BytesIO(CONTENT))
        link = tarfile.TarInfo(name)
        link.type, link.linkname = kind, target
        tar.addfile(link)


@pytest.mark.parametrize(
    "kind, target", [(tarfile.SYMTYPE, "x"), (tarfile.LNKTYPE, "Corpus/part/x")]
)
def test_links_inside_an_archive_become_copies(tmp_path, kind, target):
    make_link(tmp_path / "a.tar", kind, "Corpus/part/y", target)
    unpack(tmp_path / "a.tar", tmp_path / "part", "Corpus/part")
    copy = tmp_path / "part" / "y"
    assert copy.read_bytes() == CONTENT and not copy.is_symlink() and copy.stat().st_nlink == 1


@pytest.mark.parametrize(
    "kind, name, target",
    [
        (tarfile.SYMTYPE, "Corpus/part/y", "/etc/passwd"),
        (tarfile.SYMTYPE, "Corpus/part/y", "../../../secret"),
        (tarfile.SYMTYPE, "Corpus/part/y", "y"),
        (tarfile.SYMTYPE, "Corpus/part/y", "."),
        (tarfile.LNKTYPE, "Corpus/part/y", "../secret"),
        (tarfile.FIFOTYPE, "Corpus/part/y", ""),
        (tarfile.CHRTYPE, "Corpus/part/y", ""),
        (tarfile.REGTYPE, "/tmp/evil", ""),
        (tarfile.DIRTYPE, "Corpus/../../evil", ""),
    ],
)
def test_members_that_are_no_files_inside_are_refused(tmp_path, kind, name, target):
    (tmp_path / "secret").write_text("secret")
    make_link(tmp_path / "a.tar", kind, name, target)
    with pytest.raises(ValueError, match=f"a.tar: damaged .*{name}"):
        unpack(tmp_path / "a.tar", tmp_path / "part", "Corpus/part")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar", "secret"]


@pytest.mark.parametrize("place", [0.3, 0.6, 0.9])
def test_two_bytes_changed_in_an_archive(tmp_path, place):
    """Uncompressed inside, so that only gzip's checksum at the end can tell."""
    archive = tmp_path / "a.tar.gz"
    make_tar(archive, "Corpus/part/x", "Corpus/part/y", level=0)
    content = bytearray(archive.read_bytes())
    # within the recordings: headers have checksums of their own
    at = content.index(CONTENT[:2000]) + int(place * 9000)
    content[at : at + 2] = b"??"
    archive.write_bytes(content)
    with pytest.raises(ValueError, match="damaged .*CRC.*; remove it and run again"):
        unpack(archive, tmp_path / "part", "Corpus/part")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar.gz"]


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
