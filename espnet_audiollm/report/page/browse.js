// The list of utterances: search, filter, sort; drawn a few at a time, as one scrolls.

const BATCH = 12;
const sets = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const value = (id) => byId(id).value;

let found = []; // Utterances of the chosen set that pass the filters, in order.
let drawn = 0; // How many of them are in the document.

const chosen = () => sets[Number(value("set"))];
const perToken = (item, system) => item.systems[system].nats / item.tokens;
const usesAudio = (system) => system.input === "hypothesis" || system.input === "audio";

function compared(data) {
  const places = data.systems.map((_, i) => i).filter((i) => usesAudio(data.systems[i]));
  return places.length ? places : data.systems.map((_, i) => i);
}

// --- what is known of an utterance, worked out once -------------------------------------------------

function wordErrors(edits) {
  const count = (text) => (text ? text.split(" ").length : 0);
  let [errors, words] = [0, 0];
  for (const [operation, said, hyp] of edits) {
    words += count(said);
    if (operation !== "equal") errors += Math.max(count(said), count(hyp));
  }
  return words ? errors / words : 0;
}

function prepare(data) {
  const systems = compared(data);
  for (const item of data.utterances) {
    const nats = systems.map((i) => perToken(item, i));
    item.spread = Math.max(...nats) - Math.min(...nats);
    item.wer = item.systems.map((answer) => (answer.hyp ? wordErrors(answer.hyp) : 0));
    const words = item.systems.flatMap((answer) =>
      [answer.said ?? "", ...(answer.hyp ?? []).map((edit) => edit[2])]);
    item.words = [item.id, item.text ?? "", item.reference, item.category ?? "", item.speaker ?? "",
      ...item.accepted, ...words].join(" ").toLowerCase();
  }
}

// --- filters and order ------------------------------------------------------------------------------

const PATTERNS = {
  "A right, B wrong": (a, b) => a && !b,
  "A wrong, B right": (a, b) => !a && b,
  "both right": (a, b) => a && b,
  "both wrong": (a, b) => !a && !b,
};

function orders(data) {
  const [a, b] = [Number(value("a")), Number(value("b"))];
  const entries = {
    "where the systems differ most": (item) => -item.spread,
    "B better than A (perplexity)": (item) => perToken(item, b) - perToken(item, a),
    "A better than B (perplexity)": (item) => perToken(item, a) - perToken(item, b),
  };
  data.systems.forEach((system, i) => {
    if (system.input === "hypothesis") entries[`word errors: ${system.label}`] = (item) => -item.wer[i];
  });
  if (data.utterances.some((item) => item.seconds !== undefined)) {
    entries["longest first"] = (item) => -(item.seconds ?? 0);
  }
  entries["the test set's order"] = (item) => item.place;
  return entries;
}

function passes(item) {
  const wanted = value("search").toLowerCase().split(/\s+/).filter(Boolean);
  if (!wanted.every((word) => item.words.includes(word))) return false;
  if (value("category") && item.category !== value("category")) return false;
  const [a, b] = [value("a"), value("b")].map((i) => item.systems[Number(i)].right);
  const pattern = PATTERNS[value("pattern")];
  return !pattern || (a !== undefined && b !== undefined && pattern(a, b));
}

function shownSystems() {
  return new Set([...byId("systems").querySelectorAll("input:checked")].map((box) => Number(box.value)));
}

function find() {
  const data = chosen();
  const key = orders(data)[value("order")] ?? ((item) => item.place);
  const keyed = data.utterances.filter(passes).map((item) => [key(item), item]);
  keyed.sort(([x, one], [y, other]) => x - y || one.place - other.place);
  found = keyed.map(([, item]) => item);
  const listed = data.utterances.length;
  const total = listed < data.total
    ? `${listed} listed; the test set has ${data.total}, and half of those listed are where the systems differ most`
    : `${listed}`;
  const silent = data.utterances.filter((item) => !item.sound).length;
  byId("count").textContent = `${found.length} of ${total}.` +
    (silent && silent < listed ? ` ${listed - silent} have their recording in this file.` : "");
  drawn = 0;
  byId("list").replaceChildren();
  drawMore();
}

// --- drawing ----------------------------------------------------------------------------------------

function drawMore() {
  const shown = shownSystems();
  const next = found.slice(drawn, drawn + BATCH);
  byId("list").append(...next.map((item) => drawUtterance(value("set"), chosen(), item, shown)));
  drawn += next.length;
  byId("more").hidden = drawn >= found.length;
}

function options(select, entries) {
  const kept = select.value;
  select.replaceChildren(...entries.map(([text, given]) => make("option", { value: given }, text)));
  if (entries.some(([, given]) => given === kept)) select.value = kept;
}

function fillOrders() {
  options(byId("order"), Object.keys(orders(chosen())).map((name) => [name, name]));
}

function countCategories(data) {
  const counts = new Map();
  for (const { category } of data.utterances) {
    if (category !== undefined) counts.set(category, (counts.get(category) ?? 0) + 1);
  }
  return [...counts].sort(([one], [other]) => one.localeCompare(other));
}

function openSet() {
  const data = chosen();
  if (!data.utterances.length || data.utterances[0].spread === undefined) prepare(data);
  const categories = countCategories(data);
  options(byId("category"), [["all", ""], ...categories.map(([name, n]) => [`${name} (${n})`, name])]);
  byId("category-box").hidden = categories.length === 0;
  const systems = data.systems.map((system, i) => [system.label, String(i)]);
  options(byId("a"), systems);
  options(byId("b"), systems);
  const first = (input) => data.systems.findIndex((system) => system.input === input);
  byId("a").value = String(Math.max(0, first("hypothesis")));
  byId("b").value = String(Math.max(0, first("audio")));
  byId("pattern-box").hidden = !data.utterances.some((item) => item.systems.some((s) => s.right !== undefined));
  byId("systems").replaceChildren(...data.systems.map((system, i) => make("label", {},
    make("input", { type: "checkbox", value: String(i), checked: system.input !== "nothing" }), ` ${system.label}`)));
  fillOrders();
  find();
}

// --- keys -------------------------------------------------------------------------------------------

function step(from, by) {
  const cards = [...byId("list").children];
  const place = cards.indexOf(from) + by;
  if (place >= drawn - 1) drawMore();
  const to = byId("list").children[Math.max(0, place)];
  if (to) to.focus();
  to?.scrollIntoView({ block: "nearest" });
}

function onKey(event) {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.target.closest("input, select, audio")) return;
  const card = event.target.closest("article");
  const actions = {
    j: () => step(card, 1),
    k: () => step(card, -1),
    p: () => {
      const audio = card?.querySelector("audio");
      if (audio) audio.paused ? audio.play() : audio.pause();
    },
    "/": () => byId("search").focus(),
  };
  const action = actions[event.key.toLowerCase()];
  if (!action) return;
  event.preventDefault();
  action();
}

// --- the start --------------------------------------------------------------------------------------

if (sets.length) {
  options(byId("set"), sets.map((data, i) => [data.name, String(i)]));
  byId("set-box").hidden = sets.length < 2;
  options(byId("pattern"), [["any", ""], ...Object.keys(PATTERNS).map((name) => [name, name])]);
  byId("legend").hidden = !sets.some((data) => data.systems.some((system) => system.input === "hypothesis"));
  byId("controls").hidden = false;
  openSet();
  byId("set").addEventListener("change", openSet);
  for (const id of ["search", "category", "a", "b", "pattern", "order", "systems"]) {
    byId(id).addEventListener("input", find);
  }
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  byId("more").addEventListener("click", drawMore);
  byId("utterances").addEventListener("keydown", onKey);
  new IntersectionObserver((entries) => {
    if (entries.some((entry) => entry.isIntersecting) && !byId("more").hidden) drawMore();
  }, { rootMargin: "600px" }).observe(byId("more"));
  document.addEventListener("play", (event) => { // One voice at a time.
    for (const audio of document.querySelectorAll("audio")) if (audio !== event.target) audio.pause();
  }, true);
}
