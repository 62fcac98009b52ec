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
        const whole = new Blob(this.parts, { type: this.media.mimeType });
        resolve(whole.size ? whole : null);
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

async function base64(blob) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  let text = "";
  for (let i = 0; i < bytes.length; i += 0x8000) {
    text += String.fromCharCode(...bytes.subarray(i, i + 0x8000));
  }
  return btoa(text);
}
