// The conversation: what is sent, shown and kept until the page is closed. Texts of the model reach
// the document as text only.

const byId = (id) => document.getElementById(id);
const settings = JSON.parse(byId("settings").textContent);
const HELD = 400; // ms: a press this long ends when it is released; a shorter one, with the next
let messages = []; // of the conversation, as the server takes them
let model = null; // its name
let about = {}; // what the server says of it
let voice = null; // that speaks the last answer
let recording = null; // a promise of a Recorder
let running = null; // the AbortController of the request that is being answered
let pressed = 0; // when the press began that began the recording

function element(kind, className, text) {
  const made = document.createElement(kind);
  made.className = className || "";
  made.textContent = text || "";
  return made;
}

function complain(error) {
  byId("trouble").textContent = error ? error.message : "";
  byId("trouble").hidden = !error;
  if (error && error.status === 401) byId("token").focus();
}

function say(state) {
  byId("state").textContent = state;
}

function occupied() {
  return running !== null || recording !== null;
}

function show() {
  const busy = running !== null;
  const talk = byId("talk");
  talk.textContent = recording ? "Send" : "Press to talk";
  talk.setAttribute("aria-pressed", String(recording !== null));
  // Not `disabled`, which would take the keyboard's focus away.
  talk.setAttribute("aria-disabled", String(busy));
  byId("stop").setAttribute("aria-disabled", String(!busy && !recording));
  for (const id of ["send", "restart"]) byId(id).setAttribute("aria-disabled", String(occupied()));
  byId("file").disabled = occupied();
  byId("upload").classList.toggle("off", byId("file").disabled);
  byId("level").hidden = !recording;
  byId("turns").setAttribute("aria-busy", String(busy));
  byId("welcome").hidden = byId("turns").childElementCount > 0;
}

// --- recording ------------------------------------------------------------------------------------

async function begin() {
  if (occupied()) return;
  complain(null);
  recording = Recorder.start(byId("level"));
  show();
  try {
    await recording;
    say("Recording");
  } catch (error) {
    recording = null;
    complain(error);
  }
  show();
}

async function finish(keep) {
  const recorder = await recording.catch(() => null);
  if (!recording || !recorder) return;
  recording = null;
  const blob = await recorder.stop();
  show();
  if (keep && blob) await send(spoken(blob));
  else say("Recording discarded");
}

function toggle() {
  if (recording) finish(true);
  else begin();
}

// --- one exchange ---------------------------------------------------------------------------------

// What is said: what the page shows of it, and what the server gets.
function spoken(blob) {
  return {
    blob,
    content: async () => [{ type: "input_audio", input_audio: { data: await base64(blob), format: "" } }],
    picture: () => picture(blob),
  };
}

function written(text) {
  return { content: async () => text, picture: () => [element("p", "said", text)] };
}

function picture(blob) {
  const canvas = element("canvas");
  canvas.height = 40;
  canvas.setAttribute("aria-hidden", "true");
  const player = playerOf(blob, "What you said");
  requestAnimationFrame(async () => {
    canvas.hidden = !(await drawWave(canvas, blob));
  });
  return [canvas, player];
}

function playerOf(blob, label) {
  const player = element("audio");
  player.controls = true;
  player.setAttribute("aria-label", label);
  player.src = URL.createObjectURL(blob);
  return player;
}

// A turn on the page, with places for what the recogniser read and what the model answers.
function addTurn(said) {
  const turn = element("li", "turn");
  const pair = element("div", "pair");
  const place = (title) => {
    const box = element("section");
    const text = element("p", "said");
    text.dir = "auto";
    box.append(element("h2", "", title), text);
    pair.append(box);
    return text;
  };
  const recognised = said.blob && settings.recogniser ? place("The recogniser's text") : null;
  const answered = place(model + " answered");
  if (recognised) recognised.classList.add("recognised");
  answered.classList.add("answered");
  pair.classList.toggle("two", recognised !== null);
  turn.append(...said.picture(), pair);
  byId("turns").append(turn);
  turn.scrollIntoView({ block: "end" });
  return { turn, recognised, answered };
}

async function send(said) {
  complain(null);
  const control = new AbortController();
  running = control;
  show();
  let place = null;
  try {
    await learnModel();
    place = addTurn(said);
    show();
    say("Waiting for the answer");
    const reading = transcribe(said, place, control.signal);
    await converse(said, place, control.signal);
    await reading;
    say("The answer is complete");
  } catch (error) {
    if (error.name === "AbortError") say("Stopped");
    else fail(error, place);
  } finally {
    control.abort(); // a transcript that nobody waits for
    running = null;
    show();
  }
}

// An answer that is stopped stands in the conversation as far as it came; one that fails does not.
async function converse(said, place, signal) {
  const asked = { role: "user", content: await said.content() };
  const keep = () => {
    const content = place.answered.textContent;
    if (content) messages.push(asked, { role: "assistant", content });
  };
  const before = about.single_turn ? [] : messages;
  const spoken = speaks() && byId("spoken").checked;
  if (voice) voice.stop();
  voice = spoken ? new Voice(about.audio.sample_rate) : null;
  try {
    for await (const piece of answer([...before, asked], model, spoken, signal)) {
      if (piece.fault) {
        place.answered.textContent = "";
        place.turn.append(element("p", "note", piece.fault));
      }
      if (piece.text) place.answered.textContent += piece.text;
      if (piece.sound) voice.add(piece.sound);
    }
    keep();
    const recording = voice && voice.recording();
    if (recording) place.answered.after(playerOf(recording, "What " + model + " said"));
  } catch (error) {
    if (voice) voice.stop();
    if (error.name === "AbortError") {
      keep();
      place.turn.append(element("p", "note", "Stopped."));
    }
    throw error;
  }
}

async function transcribe(said, place, signal) {
  if (!place.recognised) return;
  try {
    place.recognised.textContent = await transcript(said.blob, model, signal) || "(nothing)";
  } catch (error) {
    if (error.name !== "AbortError") place.recognised.textContent = "No transcript: " + error.message;
  }
}

function fail(error, place) {
  complain(error);
  say("");
  if (!place) return;
  place.turn.classList.add("failed");
  place.turn.append(element("p", "note", "Not answered; the conversation goes on without it."));
}

// --- what is pressed ------------------------------------------------------------------------------

byId("talk").addEventListener("pointerdown", (event) => {
  if (event.button !== 0) return;
  byId("talk").setPointerCapture(event.pointerId);
  pressed = recording ? 0 : performance.now();
  if (!recording) begin();
});
byId("talk").addEventListener("pointerup", () => {
  if (recording && (!pressed || performance.now() - pressed > HELD)) finish(true);
});
byId("talk").addEventListener("pointercancel", () => recording && finish(false));
byId("talk").addEventListener("click", (event) => {
  if (event.detail === 0) toggle(); // by keyboard or a screen reader: no pointer was there
});
byId("stop").addEventListener("click", () => {
  if (recording) finish(false);
  else if (running) running.abort();
});
byId("file").addEventListener("change", (event) => {
  const [file] = event.target.files;
  event.target.value = "";
  if (file) send(spoken(file));
});
byId("write").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = byId("text").value.trim();
  if (!text || occupied()) return;
  byId("text").value = "";
  send(written(text));
});
byId("access").addEventListener("submit", (event) => {
  event.preventDefault();
  greet();
});
byId("restart").addEventListener("click", () => {
  if (occupied()) return;
  messages = [];
  for (const player of document.querySelectorAll(".turn audio")) URL.revokeObjectURL(player.src);
  byId("turns").replaceChildren();
  complain(null);
  say("A new conversation");
  show();
});

function speaks() {
  return (about.modalities || []).includes("audio");
}

async function learnModel() {
  if (model) return;
  about = await describeModel();
  model = about.id;
  byId("speak").hidden = !speaks();
}

async function greet() {
  complain(null);
  try {
    model = null;
    await learnModel();
    byId("model").textContent = model;
  } catch (error) {
    complain(error);
  }
}

byId("access").hidden = !settings.token;
byId("token").addEventListener("change", greet);
if (!settings.token) greet();
show();
