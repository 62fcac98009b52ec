"use strict";
// What was rated lives in `state`, is kept in localStorage under the page's id and the rater's name
// at every change, and becomes the exported file. Texts of systems reach the document as text only.

const FORMAT = "audiollm human ratings";
const VERSION = 1;
const IDLE = 60; // Seconds without a sign of life after which time is not counted.
const KEYS = [
  ["P", "play or pause the question"],
  ["Y", "the chosen answer agrees with the reference"],
  ["N", "it does not agree"],
  ["A", "choose answer A (B: answer B, …)"],
  ["Enter", "go to the next item that is not rated"],
  ["→", "next item (also J)"],
  ["←", "previous item (also K)"],
  ["T", "show or hide the transcript"],
  ["M", "write a comment; Esc leaves it"],
  ["?", "this help"],
];
const data = JSON.parse(document.getElementById("data").textContent);
const items = data.items;
const byId = (id) => document.getElementById(id);

let state = null; // Null: nobody has begun.
let chosen = 0; // The answer that Y and N rate.
let lastSign = Date.now();

// --- what is kept ---------------------------------------------------------------------------------

const prefix = `human-evaluation/${data.page}/`;
const storageKey = (rater) => prefix + rater.toLowerCase();

function cleanName(name) {
  return name.normalize("NFC").replace(/\s+/g, " ").trim();
}

function fresh(rater) {
  return {
    format: FORMAT, version: VERSION, page: data.page, rater, begun: new Date().toISOString(),
    ratings: {}, item: 0, transcript: true, keys: true, autoplay: false, exported: true,
  };
}

function load(rater) {
  try {
    const kept = JSON.parse(localStorage.getItem(storageKey(rater)));
    const valid = kept && kept.version === VERSION && kept.page === data.page && kept.ratings;
    return valid ? { ...fresh(rater), ...kept } : null;
  } catch {
    return null;
  }
}

function save() {
  try {
    localStorage.setItem(storageKey(state.rater), JSON.stringify(state));
    show("trouble", "");
  } catch {
    show("trouble", "This browser does not keep your ratings (private window, or its storage is " +
      "full or switched off). Do not reload; export before you close the page.");
  }
}

function knownRaters() {
  try {
    const keys = Object.keys(localStorage).filter((key) => key.startsWith(prefix));
    return keys.map((key) => load(key.slice(prefix.length))).filter(Boolean);
  } catch {
    return [];
  }
}

function ratingOf(number, kept = state) {
  return kept.ratings[number + 1] ||
    { answers: items[number].answers.map(() => null), comment: "", seconds: 0, plays: 0, rated: null };
}

function change(number, changes) {
  state.ratings[number + 1] = { ...ratingOf(number), ...changes };
  save();
}

function progressOf(number, kept = state) {
  const left = ratingOf(number, kept).answers.filter((verdict) => verdict === null).length;
  return left === 0 ? "done" : left < items[number].answers.length ? "part" : "new";
}

const countDone = (kept = state) => items.filter((_, i) => progressOf(i, kept) === "done").length;

// --- small tools ----------------------------------------------------------------------------------

function show(id, text) {
  byId(id).textContent = text;
  byId(id).hidden = !text;
}

function say(text) {
  byId("said").textContent = text;
}

const letter = (answer) => String.fromCharCode(65 + answer);

// --- the start ------------------------------------------------------------------------------------

function showStart() {
  byId("rating").hidden = true;
  byId("start").hidden = false;
  byId("name-hint").textContent = `${items.length} items. Please use the same name each time.`;
  const known = knownRaters().map((kept) => make("button", {
    type: "button",
    onclick: () => begin(kept.rater),
  }, `Go on as ${kept.rater} (${countDone(kept)} of ${items.length})`));
  byId("known").replaceChildren(...known);
  byId("name").value = "";
}

function begin(name) {
  const rater = cleanName(name);
  if (!rater) {
    show("start-trouble", "Please give a name or initials, so that your ratings can be distinguished.");
    return;
  }
  state = load(rater) || fresh(rater);
  byId("start").hidden = true;
  byId("rating").hidden = false;
  save();
  go(Math.min(Math.max(0, state.item), items.length - 1));
}

// --- an item --------------------------------------------------------------------------------------

function go(number) {
  state.item = number;
  lastSign = Date.now();
  save();
  const item = items[number];
  byId("heading").textContent = `Item ${number + 1} of ${items.length}`;
  const audio = byId("audio");
  byId("audio-trouble").hidden = true;
  audio.src = item.audio;
  if (state.autoplay) audio.play().catch(() => {}); // Browsers may want a click first.
  fill(byId("reference"), item.reference);
  byId("accepted").textContent =
    item.accepted.length ? `Also accepted: ${item.accepted.join("  ·  ")}` : "";
  byId("transcript-box").hidden = !item.transcript;
  for (const card of cards()) card.remove();
  byId("compare").append(...item.answers.map(answerCard));
  byId("comment").value = ratingOf(number).comment;
  const open = ratingOf(number).answers.indexOf(null);
  choose(open < 0 ? 0 : open);
  drawTranscript();
  draw();
  window.scrollTo(0, 0);
  byId("heading").focus({ preventScroll: true });
}

function fill(node, text) {
  node.textContent = text.trim() ? text : "(nothing was answered)";
  node.classList.toggle("empty", !text.trim());
}

function answerCard(text, answer) {
  const body = make("p", { className: "text", dir: "auto" });
  fill(body, text);
  const name = `Answer ${letter(answer)}`;
  const verdict = (value, sign, word, key) => make("button", {
    className: word.toLowerCase(),
    onclick: () => rate(answer, value),
    "aria-label": `${name}: ${word}`,
  }, `${sign} ${word} `, make("kbd", { "aria-hidden": "true" }, key));
  const question = make("p", {}, "Does it agree with the reference?");
  const clear = make("button", {
    className: "quiet small clear", onclick: () => rate(answer, null), "aria-label": `Clear ${name}`,
  }, "Clear");
  const verdicts = make("div", { className: "verdicts", role: "group", "aria-label": name },
    question, verdict(true, "✓", "Yes", "Y"), verdict(false, "✗", "No", "N"));
  return make("section", { className: "card answer", onpointerdown: () => choose(answer), "aria-label": name },
    make("h3", {}, name, " ", make("kbd", { "aria-hidden": "true" }, letter(answer)), clear),
    body, verdicts);
}

const cards = () => [...document.querySelectorAll(".answer")];

function choose(answer, scroll = false) {
  if (answer >= items[state.item].answers.length) return;
  chosen = answer;
  cards().forEach((card, i) => card.classList.toggle("current", i === chosen));
  if (scroll) cards()[chosen].scrollIntoView({ block: "nearest" });
}

function rate(answer, verdict, scroll = false) {
  const answers = [...ratingOf(state.item).answers];
  answers[answer] = verdict;
  state.exported = false;
  change(state.item, { answers, rated: new Date().toISOString() });
  const open = answers.indexOf(null);
  choose(verdict === null || open < 0 ? answer : open, scroll);
  const word = { true: "yes", false: "no", null: "cleared" }[verdict];
  const rest = open < 0 ? ". Item rated" : `. Now answer ${letter(chosen)}`;
  say(`Answer ${letter(answer)}: ${word}${verdict === null ? "" : rest}`);
  draw();
}

function draw() {
  const { answers } = ratingOf(state.item);
  cards().forEach((card, i) => {
    card.querySelector(".yes").setAttribute("aria-pressed", answers[i] === true);
    card.querySelector(".no").setAttribute("aria-pressed", answers[i] === false);
    card.querySelector(".clear").hidden = answers[i] === null;
  });
  const done = countDone();
  const all = done === items.length;
  byId("progress").max = items.length;
  byId("progress").value = done;
  byId("count").textContent = `${done} of ${items.length} rated`;
  byId("place").textContent = all ? "All rated" : `${state.item + 1} / ${items.length}`;
  byId("previous").disabled = state.item === 0;
  byId("reminder").hidden = !state.keys;
  const next = byId("next");
  next.textContent = all ? "Export…" : "Next →";
  next.disabled = !all && state.item === items.length - 1 && progressOf(state.item) !== "done";
  next.classList.toggle("primary", progressOf(state.item) === "done");
  byId("open-export").textContent = state.exported ? "Export" : "Export •";
  byId("open-export").title = state.exported ? "" : "There are ratings that you have not exported yet";
}

function drawTranscript() {
  const text = items[state.item].transcript;
  byId("transcript").textContent = state.transcript ? text : "";
  byId("toggle-transcript").textContent = state.transcript ? "Hide transcript" : "Show transcript";
  byId("toggle-transcript").setAttribute("aria-expanded", state.transcript);
}

function toggleTranscript() {
  state.transcript = !state.transcript;
  save();
  drawTranscript();
}

function step(by) {
  const number = state.item + by;
  if (number >= 0 && number < items.length) go(number);
}

/** To the next item that is not rated, from here on and then from the start; else to the export. */
function goOn() {
  const order = items.map((_, i) => (state.item + 1 + i) % items.length);
  const open = order.find((number) => progressOf(number) !== "done");
  if (open === undefined) openExport();
  else go(open);
}

function onNext() {
  const last = state.item === items.length - 1;
  if (last || countDone() === items.length) goOn();
  else step(1);
}

function play() {
  const audio = byId("audio");
  if (audio.paused) audio.play().catch(() => {});
  else audio.pause();
}

// --- dialogs --------------------------------------------------------------------------------------

function openItems() {
  const buttons = items.map((_, number) => {
    const progress = progressOf(number);
    const comment = ratingOf(number).comment.trim() ? "✎" : "";
    const words = { done: "rated", part: "rated in part", new: "not rated" }[progress];
    const button = make("button", {
      className: progress,
      onclick: () => { byId("items").close(); go(number); },
      "aria-label": `Item ${number + 1}, ${words}${comment ? ", with a comment" : ""}`,
    }, `${number + 1} ${{ done: "✓", part: "◐", new: "" }[progress]}${comment}`);
    if (number === state.item) button.setAttribute("aria-current", "true");
    return make("li", {}, button);
  });
  byId("grid").replaceChildren(...buttons);
  byId("items").showModal();
}

function openHelp() {
  byId("use-keys").checked = state.keys;
  byId("autoplay").checked = state.autoplay;
  byId("help").showModal();
}

function exported() {
  const ratings = Object.keys(state.ratings).map(Number).sort((a, b) => a - b);
  return {
    format: FORMAT, version: VERSION, page: data.page, page_version: data.version,
    rater: state.rater, begun: state.begun, exported: new Date().toISOString(),
    browser: navigator.userAgent, num_items: items.length,
    ratings: ratings.map((item) => ({
      item, ...state.ratings[item], seconds: Math.round(10 * state.ratings[item].seconds) / 10,
    })),
  };
}

function openExport() {
  const done = countDone();
  const left = items.length - done;
  byId("export-state").textContent = left === 0
    ? `All ${items.length} items are rated. Thank you, ${state.rater}!`
    : `${done} of ${items.length} items are rated; ${left} to go.`;
  byId("as-text").open = false;
  byId("export-text").value = JSON.stringify(exported(), null, 1);
  if (!byId("export").open) byId("export").showModal();
}

function download() {
  const text = JSON.stringify(exported(), null, 1) + "\n";
  const name = state.rater.replace(/[^\p{L}\p{N}]+/gu, "_").toLowerCase();
  const url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  make("a", { href: url, download: `ratings_${data.page.slice(0, 6)}_${name}.json` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
  state.exported = true;
  save();
  draw();
  say("The file was handed to the browser's downloads");
}

// --- what the rater does --------------------------------------------------------------------------

const ACTIONS = {
  p: play, t: toggleTranscript, "?": openHelp, m: () => byId("comment").focus(),
  y: () => rate(chosen, true, true), n: () => rate(chosen, false, true),
  ArrowRight: () => step(1), j: () => step(1), ArrowLeft: () => step(-1), k: () => step(-1),
  Enter: goOn,
};

function onKey(event) {
  lastSign = Date.now();
  if (!state || document.querySelector("dialog[open]")) return;
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  const target = event.target;
  if (target.matches("textarea, input")) {
    if (event.key === "Escape") target.blur();
    return;
  }
  if (!state.keys || event.repeat) return;
  if (event.key === "Enter" && target.matches("button, summary") && !target.matches("[aria-pressed=true]")) return;
  if (target.matches("audio") && !/^[a-z?]$/i.test(event.key)) return; // The player's own keys.
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const answer = "abcdef".indexOf(key);
  const action = answer >= 0 && key.length === 1 ? () => choose(answer, true) : ACTIONS[key];
  if (!action) return;
  event.preventDefault();
  action();
}

function tick() {
  const here = document.visibilityState === "visible" && Date.now() - lastSign < 1000 * IDLE;
  if (state && here && !byId("rating").hidden) {
    change(state.item, { seconds: ratingOf(state.item).seconds + 1 });
  }
}

function listen() {
  const click = (id, action) => byId(id).addEventListener("click", action);
  byId("begin").addEventListener("submit", (event) => {
    event.preventDefault();
    begin(byId("name").value);
  });
  click("previous", () => step(-1));
  click("next", onNext);
  click("toggle-transcript", toggleTranscript);
  click("open-items", openItems);
  click("open-help", openHelp);
  click("open-export", openExport);
  click("download", download);
  click("leave", () => { byId("help").close(); byId("audio").pause(); state = null; showStart(); });
  byId("comment").addEventListener("input", (event) => {
    state.exported = false;
    change(state.item, { comment: event.target.value });
    draw();
  });
  byId("use-keys").addEventListener("change", (event) => {
    state.keys = event.target.checked;
    save();
    draw();
  });
  byId("autoplay").addEventListener("change", (event) => {
    state.autoplay = event.target.checked;
    save();
  });
  byId("audio").addEventListener("play", () => change(state.item, { plays: ratingOf(state.item).plays + 1 }));
  byId("audio").addEventListener("timeupdate", () => { lastSign = Date.now(); });
  byId("audio").addEventListener("error", () => { byId("audio-trouble").hidden = false; });
  document.addEventListener("keydown", onKey);
  document.addEventListener("pointerdown", () => { lastSign = Date.now(); });
  document.addEventListener("scroll", () => { lastSign = Date.now(); }, { passive: true });
  window.addEventListener("storage", (event) => { // The same rater in another tab.
    if (!state || event.key !== storageKey(state.rater)) return;
    state = { ...(load(state.rater) || state), item: state.item };
    byId("comment").value = ratingOf(state.item).comment;
    draw();
  });
  setInterval(tick, 1000);
}

function paragraphs() {
  return data.brief.map((text) => make("p", { dir: "auto" }, text));
}

byId("brief").append(...paragraphs());
byId("brief-again").append(...paragraphs());
byId("keys").append(...KEYS.flatMap(([key, what]) => [
  make("dt", {}, make("kbd", {}, key)), make("dd", {}, what),
]));
listen();
showStart();
