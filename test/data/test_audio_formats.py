"""Every kind of recording that wav.scp may name, from files that real encoders wrote, and damaged
ones. What they hold is a tone whose frequency and place in time are known."""

import io
import pickle
import shutil

import av
import kaldiio
import numpy as np
import pytest
import soundfile

from espnet_audiollm.data import audio, containers, media, pipes, sources
from espnet_audiollm.data.audio import AudioError, read_mono

SECONDS = 2.0


def tones(rate=16_000):
    """float32 (N,): a second of 400 Hz, then one of 1000 Hz."""
    time = np.arange(int(rate * SECONDS)) / rate
    hertz = np.where(time < 1, 400.0, 1000.0)
    return (0.4 * np.sin(2 * np.pi * hertz * time)).astype("f4")


def hertz(samples, rate):
    return np.abs(np.fft.rfft(samples)).argmax() * rate / len(samples)


def check_tones(samples, rate, slack=0.0):
    """`slack`: seconds that a lossy coder may add or take at the ends."""
    assert len(samples) / rate == pytest.approx(SECONDS, abs=slack)
    for begin, expected in ((0.2, 400), (1.2, 1000)):
        part = samples[int(begin * rate) : int((begin + 0.5) * rate)]
        assert hertz(part, rate) == pytest.approx(expected, abs=4)
        assert np.abs(part).max() == pytest.approx(0.4, abs=0.05)


def encoded(kind, rate=16_000):
    subtype = {"OGG": "VORBIS", "OPUS": "OPUS", "MP3": "MPEG_LAYER_III"}.get(kind, "PCM_16")
    out = io.BytesIO()
    container = {"OPUS": "OGG"}.get(kind, kind)
    soundfile.write(out, tones(rate), rate, subtype, format=container)
    return out.getvalue()


KINDS = ("WAV", "FLAC", "MP3", "OGG", "OPUS")
RATES = {"OPUS": (16_000, 48_000)}


@pytest.mark.parametrize(
    ("kind", "rate"), [(k, rate) for k in KINDS for rate in RATES.get(k, (8000, 16_000, 44_100))]
)
def test_coders(tmp_path, kind, rate):
    path = tmp_path / f"a.{kind.lower()}"
    path.write_bytes(encoded(kind, rate))
    samples, found = read_mono(path)
    assert found.rate == rate and found.frames == len(samples)
    assert audio.info(path) == found
    check_tones(samples, rate)
    check_tones(audio.read_mono_16k(path), 16_000, slack=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("keep", [0.3, 0.6, 0.97])
def test_what_is_cut_short_is_found(tmp_path, kind, keep):
    complete = encoded(kind)
    path = tmp_path / "a.bin"
    path.write_bytes(complete[: int(len(complete) * keep)])
    with pytest.raises(AudioError, match="truncated|not audio"):
        read_mono(path)


# --- what FFmpeg's libraries read ---------------------------------------------------------------


def muxed(form, codec, rate=16_000, **options):
    """The tones, as PyAV writes them."""
    out = io.BytesIO()
    with av.open(out, "w", format=form, options=options) as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(tones(rate)[None], format="flt", layout="mono")
        frame.sample_rate, frame.pts = rate, 0
        coder = stream.codec_context
        form = av.AudioResampler(coder.format, "mono", rate, frame_size=coder.frame_size or 1024)
        for part in [*form.resample(frame), *form.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return out.getvalue()


FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}  # as browsers record
RECORDED = {
    "WebM of Chrome and Firefox": ("webm", "libopus", 48_000, {"live": "1"}),
    "WebM with a length": ("webm", "libopus", 48_000, {}),
    "MP4 of Safari": ("mp4", "aac", 44_100, FRAGMENTS),
    "MP4 with a length": ("mp4", "aac", 16_000, {}),
    "MP4 with Opus": ("mp4", "libopus", 48_000, FRAGMENTS),
    "Matroska with PCM": ("matroska", "pcm_s16le", 16_000, {}),
    "AAC": ("adts", "aac", 16_000, {}),
    "MP3 from a pipe": ("mp3", "libmp3lame", 16_000, {"write_xing": "0"}),
}


@pytest.fixture(params=RECORDED)
def recorded(tmp_path, request):
    form, codec, rate, options = RECORDED[request.param]
    path = tmp_path / f"a.{form}"
    path.write_bytes(muxed(form, codec, rate, **options))
    return path


def check_parts(samples, rate, slack=0.07):
    """`slack`: a coder's delay and its last frame, where nothing tells how long they are."""
    assert SECONDS <= len(samples) / rate <= SECONDS + 2 * slack
    for begin, expected in ((0.3, 400), (1.3, 1000)):
        part = samples[int(begin * rate) : int((begin + 0.5) * rate)]
        assert hertz(part, rate) == pytest.approx(expected, abs=4)
        assert np.abs(part).max() == pytest.approx(0.4, abs=0.05)


def test_what_browsers_and_phones_record(recorded):
    samples, found = read_mono(recorded)
    assert found == audio.info(recorded) and found.frames == len(samples)
    assert not found.usable_in_place
    check_parts(samples, found.rate)
    part, _ = read_mono(f"{recorded}#t=1.3,1.8")
    begin = round(1.3 * found.rate)
    assert np.abs(part - samples[begin : begin + len(part)]).max() < 0.01


@pytest.mark.parametrize("form", ["WebM with a length", "MP4 with a length", "MP3 from a pipe"])
@pytest.mark.parametrize("keep", [0.4, 0.7])
def test_such_a_recording_cut_short_is_found(tmp_path, form, keep):
    container, codec, rate, options = RECORDED[form]
    complete = muxed(container, codec, rate, **options)
    (tmp_path / "a.bin").write_bytes(complete[: int(len(complete) * keep)])
    with pytest.raises(AudioError, match="truncated|not audio"):
        audio.info(tmp_path / "a.bin")


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100])
def test_mp3_without_a_length_is_read_to_its_end(tmp_path, rate):
    """libsndfile by itself guesses the length from the first frame, and reads no more than that."""
    stream = encoded("MP3", rate)
    head = stream.index(stream[:2], 4)  # of the second frame
    path = tmp_path / "a.mp3"
    path.write_bytes(b"ID3\x04\0\0\0\0\0\x05hello" + stream[head:] + b"TAG".ljust(128, b"\0"))
    samples, found = read_mono(path)
    assert found.frames == len(samples) and found.frames % 576 == 0
    check_parts(samples, rate, slack=1.5 * 1152 / rate)
    path.write_bytes(stream[head:-7])
    with pytest.raises(AudioError, match=r"truncated: the last frame is cut, after \d+ bytes"):
        audio.info(path)


def test_a_list_of_other_files_is_no_audio(tmp_path):
    """FFmpeg's libraries would follow what a playlist names."""
    soundfile.write(tmp_path / "a.wav", tones(), 16_000)
    lists = {
        "a.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\na.wav\n#EXT-X-ENDLIST\n",
        "a.ffconcat": "ffconcat version 1.0\nfile a.wav\n",
        "a.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nm=audio 5004 RTP/AVP 0\n",
    }
    for name, content in lists.items():
        (tmp_path / name).write_text(content)
        with pytest.raises(AudioError, match="not audio that can be read"):
            audio.info(tmp_path / name)


def test_more_than_a_day_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(media, "LONGEST", 1.5)
    for name, content in (("a.webm", muxed("webm", "libopus", 48_000)), ("a.mp3", encoded("MP3"))):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(AudioError, match="longer than"):
            audio.info(tmp_path / name)


# --- NIST SPHERE --------------------------------------------------------------------------------


def sphere(samples, rate=16_000, length=1024, **fields):
    """The bytes of a SPHERE file around `samples`, which are bytes."""
    lines = [f"sample_rate -i {rate}", "channel_count -i 1", f"sample_count -i {len(tones(rate))}"]
    lines += [f"{name} {value}" for name, value in fields.items()]
    header = f"NIST_1A\n{length:7d}\n" + "\n".join(lines) + "\nend_head\n"
    return header.encode().ljust(length) + samples


PCM = (tones() * 32767).astype(np.int16)
EIGHT = (tones(8000) * 32767).astype(np.int16)


def law(samples, subtype):
    out = io.BytesIO()
    soundfile.write(out, samples, 8000, subtype, format="RAW")
    return out.getvalue()


SPHERES = {
    "an4": (16_000, PCM.astype(">i2"), {"sample_n_bytes": "-i 2", "sample_byte_format": "-s2 10"}),
    "timit": (
        16_000,
        PCM.astype("<i2"),
        {
            "sample_n_bytes": "-i 2",
            "sample_byte_format": "-s2 01",
            "sample_coding": "-s3 pcm",
            "sample_sig_bits": "-i 16",
        },
    ),
    "wsj": (16_000, PCM.astype("<i2"), {"sample_n_bytes": "-i 2", "length": 2048}),
    "switchboard": (
        8000,
        law(EIGHT, "ULAW"),
        {"sample_n_bytes": "-i 1", "sample_coding": "-s4 ulaw", "sample_byte_format": "-s1 1"},
    ),
    "mu-law": (8000, law(EIGHT, "ULAW"), {"sample_coding": "-s6 mu-law"}),
    "alaw": (8000, law(EIGHT, "ALAW"), {"sample_coding": "-s4 alaw"}),
}


def sphere_file(path, name):
    rate, samples, fields = SPHERES[name]
    content = samples if isinstance(samples, bytes) else samples.tobytes()
    path.write_bytes(sphere(content, rate, **fields))
    return path


@pytest.mark.parametrize("name", SPHERES)
def test_sphere(tmp_path, name):
    path = sphere_file(tmp_path / "a.sph", name)
    samples, found = read_mono(path)
    assert (found.rate, found.container) == (SPHERES[name][0], "NIST")
    check_tones(samples, found.rate)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(AudioError, match="truncated: the header promises"):
        audio.info(path)


def test_sphere_of_two_channels(tmp_path):
    both = np.stack([PCM, np.zeros_like(PCM)], 1).astype("<i2").tobytes()
    content = sphere(both).replace(b"channel_count -i 1", b"channel_count -i 2")
    (tmp_path / "a.sph").write_bytes(content)
    samples, found = read_mono(tmp_path / "a.sph")
    assert found.channels == 2 and np.abs(samples).max() == pytest.approx(0.2, abs=0.01)
    samples, _ = read_mono(f"{tmp_path}/a.sph#t=0,2&channel=0")
    check_tones(samples, 16_000)
    with pytest.raises(AudioError, match="no channel 2: the recording has 2"):
        read_mono(f"{tmp_path}/a.sph#t=0,2&channel=2")


@pytest.mark.parametrize("coding", ["pcm,embedded-shorten-v2.00", "ulaw,embedded-shorten-v1.09"])
def test_shorten_is_refused(tmp_path, coding):
    content = sphere(PCM.tobytes(), sample_coding=f"-s{len(coding)} {coding}")
    (tmp_path / "a.sph").write_bytes(content)
    with pytest.raises(AudioError, match=f"compressed .{coding}.*sph2pipe -f wav"):
        audio.info(tmp_path / "a.sph")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"NIST_1A\n", "without the length of its header"),
        (b"NIST_1A\n   oops\n".ljust(1024), "without the length of its header"),
        (b"NIST_1A\n   1024\nend_head\n".ljust(1024), "no number for 'sample_rate'"),
        (sphere(b"").replace(b"sample_count -i 32000", b"sample_count -i 0    "), "no samples"),
        (sphere(b"").replace(b"-i 1\n", b"-i 0\n"), "0 channels"),
    ],
)
def test_damaged_sphere(tmp_path, content, says):
    (tmp_path / "a.sph").write_bytes(content)
    with pytest.raises(AudioError, match=says):
        audio.info(tmp_path / "a.sph")


# --- arks ---------------------------------------------------------------------------------------


@pytest.fixture
def ark(tmp_path):
    """write(objects, **options): {id: "path:offset"} of what kaldiio wrote."""

    def write(objects, **options):
        scp = tmp_path / "a.scp"
        kaldiio.save_ark(str(tmp_path / "a.ark"), objects, scp=str(scp), **options)
        return dict(line.split() for line in scp.read_text().splitlines())

    return write


@pytest.mark.parametrize("container", [None, "wav", "flac", "ogg"])
def test_ark(ark, container):
    silence = np.zeros(800, np.int16)
    objects = {"a": (16_000, silence), "b": (16_000, PCM), "c": (16_000, silence)}
    options = {"write_function": "soundfile", "write_kwargs": {"format": container}}
    entries = ark(objects, **(options if container else {}))
    samples, found = read_mono(entries["b"])
    assert found.container == "ark" and not found.usable_in_place
    check_tones(samples, 16_000)
    assert len(read_mono(entries["a"])[0]) == len(read_mono(entries["c"])[0]) == 800


def test_damaged_ark(tmp_path, ark):
    entries = ark({"a": (16_000, PCM), "b": (16_000, PCM)})
    path = tmp_path / "a.ark"
    path.write_bytes(path.read_bytes()[:-10])
    assert len(read_mono(entries["a"])[0]) == len(PCM)
    with pytest.raises(AudioError, match=r"promises \d+ bytes, \d+ are in the ark"):
        audio.info(entries["b"])
    with pytest.raises(AudioError, match="before the entry"):
        audio.info(f"{path}:999999")
    with pytest.raises(AudioError, match="not where an entry begins"):
        audio.info(f"{path}:100")
    with pytest.raises(AudioError, match="cannot be opened"):
        audio.info(f"{tmp_path}/none.ark:2")


class Trap:
    def __reduce__(self):
        return (open, ("trapped", "w"))


def test_an_ark_is_never_unpickled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.ark").write_bytes(b"a PKL" + pickle.dumps(Trap()))
    with pytest.raises(AudioError, match="pickled object, which is never read"):
        read_mono(f"{tmp_path}/a.ark:2")
    assert not (tmp_path / "trapped").exists()


def test_matrices_are_not_audio(ark):
    entries = ark({"a": np.zeros((3, 4), "f4")})
    with pytest.raises(AudioError, match="a matrix or vector of an ark, not audio"):
        read_mono(entries["a"])


def test_a_file_with_the_name_of_another_form_is_a_file(tmp_path):
    for name in ("a.wav:12", "a.wav#t=0,1", "a.raw"):
        soundfile.write(tmp_path / name, tones(), 16_000, format="WAV")
        assert audio.info(tmp_path / name).container == "WAV"
    (tmp_path / "b.raw").write_bytes(bytes(range(256)) * 40)
    with pytest.raises(AudioError, match="not audio"):
        audio.info(tmp_path / "b.raw")


# --- parts --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_part_is_what_the_complete_recording_has_there(tmp_path, kind):
    path = tmp_path / f"a.{kind.lower()}"
    path.write_bytes(encoded(kind))
    complete, _ = read_mono(path)
    part, found = read_mono(f"{path}#t=0.75,1.5")
    assert (found.container, found.duration) == ("segment", 0.75)
    assert np.abs(part - complete[12_000:24_000]).max() < (0.01 if kind == "OPUS" else 1e-4)
    assert len(read_mono(f"{path}#t=1.5,")[0]) == 8000  # to the end
    assert len(read_mono(f"{path}#t=1.5,2.4")[0]) == 8000  # within Kaldi's half second


def test_parts_everywhere_in_an_ark_of_flac(ark):
    """libsndfile's search for a FLAC frame asks for places before the file."""
    noise = np.random.default_rng(0).integers(-9000, 9000, 160_000).astype(np.int16)
    options = {"write_function": "soundfile", "write_kwargs": {"format": "flac"}}
    place = ark({"a": (16_000, noise), "b": (16_000, noise)}, **options)["a"]
    for begin in (0.1, 1.5, 3.0, 5.25, 9.9):
        part, _ = read_mono(f"{place}#t={begin},{begin + 0.1}")
        first = int(begin * 16_000)
        assert (part == noise[first : first + 1600] / np.float32(32768)).all()


def test_a_part_of_an_ark(ark):
    part, _ = read_mono(ark({"a": (16_000, PCM)})["a"] + "#t=1.0,1.5")
    assert len(part) == 8000 and hertz(part, 16_000) == pytest.approx(1000, abs=4)


@pytest.mark.parametrize(
    ("part", "says"),
    [
        ("1.5,2.6", "1.5 to 2.6 s, is not in the recording, which has 2.000 s"),
        ("2.0,2.1", "is not in the recording"),
        ("1.5,1.2", "ends at 1.2 s, before it begins"),
        ("1.5,1.5", "ends at 1.5 s, before it begins"),
        ("7,", "is not in the recording"),
    ],
)
def test_a_part_out_of_range(tmp_path, part, says):
    soundfile.write(tmp_path / "a.wav", tones(), 16_000)
    with pytest.raises(AudioError, match=says):
        audio.info(f"{tmp_path}/a.wav#t={part}")


# --- commands -----------------------------------------------------------------------------------

with_sox = pytest.mark.skipif(not shutil.which("sox"), reason="no sox")
with_flac = pytest.mark.skipif(not shutil.which("flac"), reason="no flac")


@pytest.fixture
def wav(tmp_path):
    path = tmp_path / "it's a $tone;.wav"
    soundfile.write(path, tones(), 16_000)
    shutil.copy(path, tmp_path / "a.wav")
    return tmp_path / "a.wav"


def test_commands_are_off(wav):
    for read in (audio.info, read_mono):
        with pytest.raises(AudioError, match="a command, .* only with --allow_pipes true"):
            read(f"sox {wav} -t wav - |")


@with_sox
@pytest.mark.parametrize(
    "command",
    [
        "sox {} -t wav - |",
        "sox '{}' -t wav - |",
        "sox {} -t sph - | sox -t sph - -t wav - |",
        pytest.param("flac -s -c {} | flac -s -c -d - |", marks=with_flac),
    ],
)
def test_commands(wav, command):
    value = command.format(wav)
    samples, found = read_mono(value, allow_pipes=True)
    assert found.container == "pipe" and not found.usable_in_place
    check_tones(samples, 16_000)
    part, _ = read_mono(value + "#t=1.0,1.5", allow_pipes=True)
    assert (part == samples[16_000:24_000]).all()
    assert sources.parse(value).files == [str(wav)]


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="no ffmpeg")
def test_ffmpeg(wav):
    value = f"ffmpeg -nostdin -v error -i {wav} -ar 8000 -f wav - |"
    samples, found = read_mono(value, allow_pipes=True)
    assert found.rate == 8000
    check_tones(samples, 8000, slack=1e-3)


RAW = "-t raw -r 16000 -e signed -b 16 -c 1"
REFUSED = {
    "cat {} |": "'cat' is not one of the programs allowed: sox, ffmpeg, sph2pipe, flac",
    "/usr/bin/sox {} -t wav - |": "'/usr/bin/sox' is not one of",
    "sox {} -t wav - ; touch pwned |": "';' is not run",
    "sox {} -t wav - && touch pwned |": "'&&' is not run",
    "sox {} -t wav - > pwned |": "'>' is not run",
    "sox <{} - |": "'<' is not run",
    "(sox {} -t wav -) |": "'[(]' is not run",
    "sox $(touch pwned) {} - |": "variables and substitutions",
    "sox `touch pwned` {} - |": "variables and substitutions",
    "sox ${{HOME}} - |": "variables and substitutions",
    "sox '|touch pwned' -t wav - |": "'|touch pwned' of sox is not allowed",
    "sox http://localhost/a.wav -t wav - |": "of sox is not allowed",
    "ffmpeg -y -i {} pwned.wav |": "'-y' of ffmpeg is not allowed",
    "sox list.m3u -t wav - |": "'list.m3u' of sox",
    "sox -t m3u a.wav -t wav - |": "'m3u' of sox",
    "sox {} pwned.wav |": "'pwned.wav' of sox",
    "sox {} -t wav pwned.wav trim 0 1 |": "of sox",
    "sox {} -t wav - ladspa /tmp/evil x |": "'ladspa' of sox",
    "sox {} -t wav - spectrogram -o pwned.png |": "'spectrogram' of sox",
    "sox {} -t wav - trim 0 1 noiseprof pwned |": "'noiseprof' of sox",
    "sox {} -t wav - remix 1 /etc/passwd |": "'/etc/passwd' of sox",
    "sox --effects-file a.wav {} -t wav - |": "'--effects-file' of sox",
    "sox --plot octave {} -t wav - |": "'--plot' of sox",
    "sox -d -t wav - |": "'-d' of sox",
    "sox {} |": "of sox",
    "flac --delete-input-file -c -d {} |": "'--delete-input-file' of flac",
    "flac -c -d -o pwned.wav {} |": "'-o' of flac",
    "flac -f -c {} |": "'-f' of flac",
    "flac -d {} |": "of flac",
    "flac -c -d {} b.flac |": "of flac",
    "sph2pipe -f wav {} pwned.wav |": "'pwned.wav' of sph2pipe",
    "ffmpeg -i concat:{} -f wav - |": "'concat:.*' of ffmpeg",
    "ffmpeg -i list.m3u8 -f wav - |": "'list.m3u8' of ffmpeg",
    "ffmpeg -f concat -i {} -f wav - |": "'concat' of ffmpeg",
    "ffmpeg -f lavfi -i {} -f wav - |": "'lavfi' of ffmpeg",
    "ffmpeg -i {} -af amovie=/etc/passwd -f wav - |": "'-af' of ffmpeg",
    "ffmpeg -i {} -filter_complex x -f wav - |": "'-filter_complex' of ffmpeg",
    "ffmpeg -protocol_whitelist all -i {} -f wav - |": "'-protocol_whitelist' of ffmpeg",
    "ffmpeg -i {} -f wav file:pwned.wav |": "'file:pwned.wav' of ffmpeg",
    "ffmpeg -i {} pwned.wav -f wav - |": "'pwned.wav' of ffmpeg",
    "sox *.wav -t wav - |": "'[*].wav' of sox",
    "sox [b].wav -t wav - |": "of sox",
    "sox {} -t wav - trim 0 1 : newfile |": "':' of sox",
    "ffmpeg -i {} pwned.wav |": "'pwned.wav' of ffmpeg",
    "ffmpeg -i {} -f wav - -f wav pwned.wav |": "'pwned.wav' of ffmpeg",
    "ffmpeg -f wav - -i |": "'-i' of ffmpeg",
    "sox {} -t wav - | |": "a program is missing",
    "| sox {} |": "a program is missing",
    "sox '{} |": "cannot be read",
    "|": "a program is missing",
}


ALLOWED = [
    "sph2pipe -f wav -p -c 1 /x/a.sph |",
    "sph2pipe -f wav /x/A.WV1 | sox -t wav - -r 16k -c 1 -b 16 -e signed-integer -t wav - |",
    "sox -G /x/a.flac -r 16000 -c 1 -t wav - remix 1,2 speed 0.9 |",
    "sox -t wav - -t wav - vol 0.5 |",
    "sox 'it is; a tape/a b.mp3' -t wav - trim 1.5 =3 |",
    "flac -dcs /x/a.flac |",
    "flac --silent --decode --stdout --skip=0:01.5 /x/a.flac |",
    "ffmpeg -nostdin -v error -i /x/a.m4a -ss 1.5 -map 0:a:0 -ac 1 -ar 16000 -f wav - |",
    "ffmpeg -i /x/a.mp3 -acodec pcm_s16le -f wav pipe:1 |",
]


@pytest.mark.parametrize("command", ALLOWED)
def test_what_reading_needs_is_allowed(command):
    assert pipes.parse(command.removesuffix("|"))


@pytest.mark.parametrize("command", REFUSED)
def test_refused_commands(tmp_path, wav, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AudioError, match=REFUSED[command].replace("|", "[|]").replace("$", "[$]")):
        read_mono(command.format(wav), allow_pipes=True)
    assert not list(tmp_path.glob("pwned*"))


@with_sox
def test_commands_that_fail(tmp_path, wav, monkeypatch):
    with pytest.raises(AudioError, match="sox ended with status 2: .*none.wav"):
        read_mono(f"sox {tmp_path}/none.wav -t wav - |", allow_pipes=True)
    with pytest.raises(AudioError, match="sox ended with status 2: .*none.wav"):
        read_mono(f"sox {tmp_path}/none.wav -t wav - | sox - -t wav - |", allow_pipes=True)
    with pytest.raises(AudioError, match="wrote nothing to its standard output"):
        read_mono(f"sox {wav} -t raw - trim 0 0 |", allow_pipes=True)
    with pytest.raises(AudioError, match="not audio that can be read"):
        read_mono(f"sox {wav} -t raw - |", allow_pipes=True)
    with pytest.raises(AudioError, match="header does not say how long it is: write it as WAV"):
        read_mono(f"sox {wav} -t raw - | sox {RAW} - -t flac - |", allow_pipes=True)
    monkeypatch.setattr(pipes, "LIMIT", 0.2)
    with pytest.raises(AudioError, match="still running after 0.2 s"):
        read_mono(f"sox {wav} -t wav - speed 0.00001 |", allow_pipes=True)


def test_a_program_that_is_not_there(wav, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(AudioError, match="sph2pipe is not installed, or not in PATH"):
        read_mono(f"sph2pipe -f wav {wav} |", allow_pipes=True)


# --- ranges of files ----------------------------------------------------------------------------


def test_a_range_is_a_file_of_its_own():
    part = containers.Range(io.BytesIO(b"0123456789"), 3, 4)
    assert part.read() == b"3456" and part.read() == b""
    assert part.seek(-2, 2) == 2 and part.read(9) == b"56" and part.tell() == 4
    assert part.seek(1) == 1 and part.seek(1, 1) == 2 and part.read(1) == b"5"


@pytest.mark.parametrize("form", KINDS)
def test_bytes_are_read_as_their_file(tmp_path, form):
    content = encoded(form)
    (tmp_path / "a").write_bytes(content)
    assert np.array_equal(audio.decode(content, 60.0), audio.read_mono_16k(tmp_path / "a"))


def test_bytes_of_too_much_sound_are_refused_before_they_are_decoded():
    second = {"WAV": 44_100, "FLAC": 655_350}
    silence = np.zeros((600 * 8_000, 1), "f4")
    flac = io.BytesIO()
    soundfile.write(flac, silence, 8_000, format="FLAC")
    assert len(flac.getvalue()) < 100_000
    wide = io.BytesIO()
    soundfile.write(wide, np.zeros((second["WAV"], 16), "f4"), second["WAV"], format="WAV")
    fast = io.BytesIO()
    soundfile.write(fast, np.zeros(second["FLAC"], "f4"), second["FLAC"], format="FLAC")
    webm = muxed("webm", "libopus", 48_000)
    for content, longest, says in (
        (flac.getvalue(), 60.0, "600.0 s long, 60 s are allowed"),
        (wide.getvalue(), 60.0, "16 channels"),
        (fast.getvalue(), 60.0, "at 655350 Hz"),
        (webm, 0.5, "longer than 0.5 s"),
        (b"", 60.0, "0 bytes"),
        (b"RIFF of nothing at all", 60.0, "not audio"),
    ):
        with pytest.raises(AudioError, match=says):
            audio.decode(content, longest)
