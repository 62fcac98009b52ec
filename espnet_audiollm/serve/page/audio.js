"use strict";
// The microphone, and pictures of sound.

const FORMATS = ["audio/webm;codecs=opus", "audio/mp4", "audio/ogg;codecs=opus"];
const BARS = 120;
let context = null;

// One AudioContext for the page; browsers allow it once somebody has pressed something.
function audioContext() {
  context = context || new AudioContext();
  return context;
}

// Records until stop() is called, which gives the recording (null: nothing was recorded).
class Recorder {
  static async start(canvas) {
    if (!navigator.mediaDevices || !window.MediaRecorder) {
      throw new Error("Browsers give the microphone to https pages and to localhost only: " +
        "open this page at such an address, or send a file.");
    }
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    } catch (error) {
      const reason = error.name === "NotAllowedError" ? "This page may not use the microphone: allow it in the browser"
        : "The microphone cannot be used (" + error.name + "): connect one";
      throw new Error(reason + ", or send a file.");
    }
    return new Recorder(stream, canvas);
  }

  constructor(stream, canvas) {
    const mimeType = FORMATS.find((format) => MediaRecorder.isTypeSupported(format));
    this.stream = stream;
    this.parts = [];
    this.media = new MediaRecorder(stream, mimeType ? { mimeType } : {});
    this.media.ondataavailable = (event) => this.parts.push(event.data);
    this.media.start();
    this.watch(canvas);
  }

  // Draw the level while it records.
  watch(canvas) {
    const source = audioContext().createMediaStreamSource(this.stream);
    const analyser = audioContext().createAnalyser();
    source.connect(analyser);
    audioContext().resume();
    const samples = new Float32Array(analyser.fftSize);
    const peaks = [];
    const draw = () => {
      if (this.media.state !== "recording") {
        source.disconnect();
        return;
      }
      analyser.getFloatTimeDomainData(samples);
      peaks.push(peakOf(samples, 0, samples.length));
      drawPeaks(canvas, peaks.slice(-BARS));
      requestAnimationFrame(draw);
    };
    draw();
  }

  stop() {
    return new Promise((resolve) => {
      this.media.onstop = () => {
        this.stream.getTracks().forEach((track) => track.stop());
        const recorded = new Blob(this.parts, { type: this.media.mimeType });
        resolve(recorded.size ? recorded : null);
      };
      this.media.stop();
    });
  }
}

function peakOf(samples, begin, end) {
  let peak = 0;
  for (let i = begin; i < end; i++) peak = Math.max(peak, Math.abs(samples[i]));
  return peak;
}

// Bars from the left; each is the largest sample of its stretch.
function drawPeaks(canvas, peaks) {
  canvas.width = canvas.clientWidth * devicePixelRatio || 600;
  const pen = canvas.getContext("2d");
  const step = canvas.width / BARS;
  pen.fillStyle = getComputedStyle(canvas).color;
  peaks.forEach((peak, i) => {
    const height = Math.max(1, Math.min(1, peak) * canvas.height);
    pen.fillRect(i * step, (canvas.height - height) / 2, step * 0.7, height);
  });
}

// The wave of a recording; false: this browser cannot decode what the server may well read.
async function drawWave(canvas, blob) {
  try {
    const sound = await audioContext().decodeAudioData(await blob.arrayBuffer());
    const samples = sound.getChannelData(0);
    const edge = (i) => Math.floor(i * samples.length / BARS);
    drawPeaks(canvas, Array.from({ length: BARS }, (_, i) => peakOf(samples, edge(i), edge(i + 1))));
    return true;
  } catch {
    return false;
  }
}

// Plays the pieces of an answer one after the other, as they come; then it is a recording.
class Voice {
  constructor(rate) {
    this.rate = rate;
    this.parts = [];
    this.end = 0; // when what has come will have been played, on the context's clock
    this.sources = [];
  }

  add(data) {
    const bytes = Uint8Array.from(atob(data), (each) => each.charCodeAt(0));
    if (!bytes.length) return;
    this.parts.push(bytes);
    const view = new DataView(bytes.buffer);
    const buffer = audioContext().createBuffer(1, bytes.length / 2, this.rate);
    const samples = buffer.getChannelData(0);
    for (let i = 0; i < samples.length; i++) samples[i] = view.getInt16(2 * i, true) / 32768;
    const source = audioContext().createBufferSource();
    source.buffer = buffer;
    source.connect(audioContext().destination);
    audioContext().resume();
    this.end = Math.max(this.end, audioContext().currentTime);
    source.start(this.end);
    this.end += buffer.duration;
    this.sources.push(source);
  }

  stop() {
    for (const source of this.sources) source.stop();
  }

  // As a WAV file; null: nothing was said.
  recording() {
    const size = this.parts.reduce((sum, part) => sum + part.length, 0);
    if (!size) return null;
    const head = new DataView(new ArrayBuffer(44));
    const letters = (at, text) => [...text].forEach((c, i) => head.setUint8(at + i, c.charCodeAt(0)));
    letters(0, "RIFF");
    head.setUint32(4, 36 + size, true);
    letters(8, "WAVEfmt ");
    head.setUint32(16, 16, true);
    head.setUint16(20, 1, true); // PCM
    head.setUint16(22, 1, true); // channel
    head.setUint32(24, this.rate, true);
    head.setUint32(28, 2 * this.rate, true);
    head.setUint16(32, 2, true);
    head.setUint16(34, 16, true);
    letters(36, "data");
    head.setUint32(40, size, true);
    return new Blob([head, ...this.parts], { type: "audio/wav" });
  }
}

async function base64(blob) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  let text = "";
  for (let i = 0; i < bytes.length; i += 0x8000) {
    text += String.fromCharCode(...bytes.subarray(i, i + 0x8000));
  }
  return btoa(text);
}
