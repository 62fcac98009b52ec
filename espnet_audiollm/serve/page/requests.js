// What is asked of the server. Errors are sentences for whoever reads the page.

class Refusal extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

const GONE = "The server cannot be reached: see whether it still runs, then try again.";
const CUT = "The connection to the server broke in the middle of the answer: see whether it still runs, then ask again.";

// fetch with the access token. Refusal: with the server's own sentence, where it has one.
async function ask(path, options) {
  const token = byId("token").value.trim();
  const headers = { ...options.headers, ...(token ? { Authorization: "Bearer " + token } : {}) };
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    throw error.name === "AbortError" ? error : new Refusal(GONE, 0);
  }
  if (response.ok) return response;
  let message = "The server answered with status " + response.status + ".";
  try {
    message = sentence((await response.json()).error.message);
  } catch { /* no JSON: the status is all that is known */ }
  if (response.status === 401) message = "The access token is missing or wrong: type it in the field.";
  throw new Refusal(message, response.status);
}

function sentence(text) {
  const end = /[.!?]$/.test(text) ? "" : ".";
  return text.charAt(0).toUpperCase() + text.slice(1) + end;
}

// The model: its id, modalities, and whether each question is without context.
async function describeModel() {
  return (await (await ask("/v1/models", {})).json()).data[0];
}

async function transcript(blob, model, signal) {
  const body = new FormData();
  body.append("model", model);
  body.append("file", blob, "recording");
  const response = await ask("/v1/audio/transcriptions", { method: "POST", body, signal });
  return (await response.json()).text;
}

const SPOKEN = { modalities: ["text", "audio"], audio: { format: "pcm16" } };

// Pieces of the answer as they come: { text }, { sound } (base64 of 16-bit samples), or { fault } of the
// speech with all of the text. Refusal: there is none, or it broke off.
async function* answer(messages, model, spoken, signal) {
  const response = await ask("/v1/chat/completions", {
    method: "POST", signal, headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ model, messages, stream: true, ...(spoken ? SPOKEN : {}) }),
  });
  for await (const data of events(response.body.getReader())) {
    if (data === "[DONE]") return;
    const { error, choices } = JSON.parse(data);
    if (error) throw new Refusal(sentence(error.message), 500);
    const [{ delta, finish_reason }] = choices;
    const sound = delta.audio || {};
    if (delta.error) yield { fault: sentence(delta.error.message), text: delta.content || "" };
    else if (delta.content || sound.transcript) yield { text: delta.content || sound.transcript };
    if (sound.data) yield { sound: sound.data };
    if (finish_reason === "length") yield { text: " […]" };
  }
  throw new Refusal(CUT, 0);
}

// The data of server-sent events.
async function* events(reader) {
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read().catch((error) => {
      throw error.name === "AbortError" ? error : new Refusal(CUT, 0);
    });
    if (done) return;
    const parts = (rest + decoder.decode(value, { stream: true })).split("\n\n");
    rest = parts.pop();
    for (const part of parts) yield part.slice("data: ".length);
  }
}
