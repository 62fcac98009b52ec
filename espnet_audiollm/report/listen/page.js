"use strict";
// All that others wrote reaches the document as text (textContent), never as HTML.
const items = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const player = new Audio();
const cards = [];
const marked = new Set();
const PLAY = "M6 3l14 9-14 9z";
const PAUSE = "M6 3h4v18H6zM14 3h4v18h-4z";
const STORE = `listen ${items.map((item) => item.id).join(" ")}`;
let current = 0;
let loaded = -1; // the item whose recording the player has

function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  Object.assign(made, properties);
  made.append(...children);
  return made;
}

function drawing(box, path) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", box);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
  line.setAttribute("d", path);
  svg.append(line);
  return svg;
}

function wave(peaks) {
  const bars = peaks.map((peak, place) => {
    const height = Math.max(peak, 1) / 2; // of 100
    return `M${place} ${50 - height}h.7v${2 * height}h-.7z`;
  });
  return drawing(`0 0 ${peaks.length} 100`, bars.join(""));
}

function clock(seconds) {
  const minutes = Math.floor(seconds / 60);
  return `${minutes}:${(seconds - 60 * minutes).toFixed(1).padStart(4, "0")}`;
}

function build(item, place) {
  const card = element("li", { className: "item" });
  const mark = element("button", { className: "mark", textContent: "Mark" });
  mark.addEventListener("click", () => toggleMark(place));
  const name = element("div", {}, element("p", { className: "id", textContent: item.id }));
  if (item.reason) name.append(element("p", { className: "reason", textContent: item.reason }));
  card.append(element("div", { className: "head" }, name, mark));
  const parts = { card, mark };
  if (item.audio) {
    parts.play = element("button", { className: "play" }, drawing("0 0 24 24", PLAY));
    parts.play.addEventListener("click", () => playOrPause(place));
    parts.seek = element("input", { type: "range", min: 0, max: 1000, value: 0 });
    parts.seek.setAttribute("aria-label", `Place in ${item.id}`);
    parts.seek.addEventListener("input", () => seekTo(place, parts.seek.value / 1000));
    parts.played = element("div", { className: "played" }, wave(item.peaks));
    parts.played.style.clipPath = "inset(0 100% 0 0)";
    parts.played.style.position = "absolute";
    parts.played.style.inset = "0";
    parts.time = element("span", { className: "time" });
    const shape = element("div", { className: "wave" }, wave(item.peaks), parts.played, parts.seek);
    card.append(element("div", { className: "sound" }, parts.play, shape, parts.time));
  } else {
    card.append(element("p", { className: "notice", textContent: item.trouble }));
  }
  if (item.text) {
    card.append(element("p", { className: "text", dir: "auto", textContent: item.text }));
  } else {
    const why = item.text === null ? "(no transcript)" : "(an empty transcript)";
    card.append(element("p", { className: "text empty", textContent: why }));
  }
  const facts = element("ul", { className: "facts" });
  for (const fact of item.facts) {
    facts.append(element("li", { textContent: fact, className: fact.endsWith("!") ? "warned" : "" }));
  }
  facts.append(element("li", { textContent: `speaker ${item.speaker}` }));
  for (const [table, value] of Object.entries(item.more)) {
    facts.append(element("li", { textContent: `${table}: ${value}` }));
  }
  card.append(facts);
  card.addEventListener("pointerdown", () => choose(place, false));
  card.addEventListener("focusin", () => choose(place, false));
  cards.push(parts);
  $("items").append(card);
}

function choose(place, scroll = true) {
  current = Math.min(Math.max(place, 0), items.length - 1);
  cards.forEach(({ card }, other) => card.classList.toggle("current", other === current));
  if (!scroll) return;
  cards[current].card.scrollIntoView({ block: "nearest" });
  (cards[current].play || cards[current].mark).focus({ preventScroll: true });
  $("said").textContent = items[current].id;
}

function load(place) {
  if (loaded === place) return;
  player.pause();
  const before = loaded;
  loaded = place;
  if (before >= 0) show(before, 0, false);
  player.src = items[place].audio;
}

function playOrPause(place) {
  choose(place, false);
  if (!items[place].audio) return;
  if (loaded === place && !player.paused) {
    player.pause();
    return;
  }
  load(place);
  player.play().catch((error) => {
    if (error.name !== "AbortError") $("said").textContent = "The recording could not be played.";
  });
}

function seekTo(place, share) {
  const wasPlaying = loaded === place && !player.paused;
  choose(place, false);
  load(place);
  const go = () => {
    player.currentTime = share * player.duration;
    if (!wasPlaying) player.play().catch(() => {});
  };
  if (player.readyState >= 1) go();
  else player.addEventListener("loadedmetadata", go, { once: true });
}

function show(place, seconds, playing) {
  const { play, seek, played, time } = cards[place];
  const length = (loaded === place && player.duration) || 0;
  const share = length ? seconds / length : 0;
  played.style.clipPath = `inset(0 ${100 - 100 * share}% 0 0)`;
  seek.value = 1000 * share;
  time.textContent = clock(seconds || items[place].seconds);
  play.querySelector("path").setAttribute("d", playing ? PAUSE : PLAY);
  play.setAttribute("aria-label", `${playing ? "Pause" : "Play"} ${items[place].id}`);
}

function follow() {
  if (loaded < 0) return;
  show(loaded, player.currentTime, !player.paused && !player.ended);
  if (!player.paused && !player.ended) requestAnimationFrame(follow);
}

function step(by, play) {
  const place = current + by;
  if (place < 0 || place >= items.length) return;
  choose(place);
  if (play) playOrPause(place);
}

function toggleMark(place) {
  const id = items[place].id;
  if (!marked.delete(id)) marked.add(id);
  try {
    localStorage.setItem(STORE, JSON.stringify([...marked]));
  } catch { /* a browser that keeps nothing: the list can still be saved */ }
  showMarks();
}

function showMarks() {
  cards.forEach(({ card, mark }, place) => {
    const is = marked.has(items[place].id);
    card.classList.toggle("is-marked", is);
    mark.setAttribute("aria-pressed", is);
    mark.setAttribute("aria-label", `Mark ${items[place].id}`);
    mark.textContent = is ? "Marked" : "Mark";
  });
  $("count").textContent = marked.size;
  const listed = items.filter((item) => marked.has(item.id)).map((item) => `${item.id}\n`);
  $("ids").value = listed.join("");
  $("save").disabled = !marked.size;
}

function save() {
  const url = URL.createObjectURL(new Blob([$("ids").value], { type: "text/plain" }));
  element("a", { href: url, download: "marked.txt" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

const KEYS = {
  " ": () => playOrPause(current),
  p: () => playOrPause(current),
  j: () => step(1, false),
  k: () => step(-1, false),
  n: () => step(1, true),
  m: () => toggleMark(current),
  ",": () => { player.currentTime = Math.max(0, player.currentTime - 1); follow(); },
  ".": () => { player.currentTime = Math.min(player.duration || 0, player.currentTime + 1); follow(); },
  a: () => {
    $("all").checked = !$("all").checked;
    $("said").textContent = $("all").checked ? "Plays one after the other" : "Plays only one";
  },
  "?": () => $("help").showModal(),
};

function pressed(event) {
  const inDialog = document.querySelector("dialog[open]");
  if (event.ctrlKey || event.metaKey || event.altKey || inDialog) return;
  const action = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!action) return;
  if (event.key === " " && event.target.closest("button:not(.play)")) return; // it presses that
  event.preventDefault();
  action();
}

items.forEach(build);
items.forEach((item, place) => { if (item.audio) show(place, 0, false); });
try {
  const kept = JSON.parse(localStorage.getItem(STORE));
  if (Array.isArray(kept)) kept.forEach((id) => marked.add(id));
} catch { /* nothing was kept, or not by this page */ }
showMarks();
choose(0, false);
document.addEventListener("keydown", pressed);
document.addEventListener("keyup", (event) => { // Firefox would press the button as well
  if (event.key === " " && event.target.closest(".play")) event.preventDefault();
});
for (const name of ["play", "pause", "seeked", "loadedmetadata"]) player.addEventListener(name, follow);
player.addEventListener("ended", () => {
  follow();
  if ($("all").checked && current === loaded) step(1, true);
});
for (const name of ["marked", "help"]) {
  $(`open-${name}`).addEventListener("click", () => $(name).showModal());
}
$("save").addEventListener("click", save);
