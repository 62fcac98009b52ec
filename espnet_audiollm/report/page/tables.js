"use strict";
// Tables that their heads sort: up, down, and back to the order of the report.

const NOTHING = "–";

function sortValue(text) {
  const number = /^[^\d]{0,4}?([-+]?\d[\d.]*(e[-+]?\d+)?)/.exec(text.trim());
  return number ? Number(number[1]) : null;
}

function compareCells(a, b) {
  const [x, y] = [sortValue(a), sortValue(b)];
  if (x !== null && y !== null && x !== y) return x - y;
  return a.localeCompare(b, undefined, { numeric: true });
}

function sortRows(rows, column, direction) {
  const text = (row) => row.cells[column].textContent;
  const [known, unknown] = [[], []];
  for (const row of rows) (text(row) === NOTHING ? unknown : known).push(row);
  const compare = column === 0 ? (a, b) => a.localeCompare(b, undefined, { numeric: true }) : compareCells;
  known.sort((a, b) => direction * compare(text(a), text(b)));
  return [...known, ...unknown]; // What is not known comes last, whichever way one sorts.
}

function makeSortable(table) {
  const body = table.tBodies[0];
  const original = [...body.rows];
  if (original.length < 2) return;
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = make("button", { type: "button" }, ...head.childNodes);
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const next = { ascending: "descending", descending: null }[head.getAttribute("aria-sort")];
      const order = next === undefined ? "ascending" : next;
      for (const other of heads) other.removeAttribute("aria-sort");
      if (order) head.setAttribute("aria-sort", order);
      const direction = order === "descending" ? -1 : 1;
      body.append(...(order ? sortRows(original, column, direction) : original));
    });
  });
}

for (const table of document.querySelectorAll("table")) makeSortable(table);

let opened = []; // Sections that only the printer sees open.
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  for (const details of opened) details.open = true;
});
addEventListener("afterprint", () => {
  for (const details of opened) details.open = false;
});
