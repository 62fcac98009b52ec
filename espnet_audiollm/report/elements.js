"use strict";
// Elements made by a script: properties, attributes of accessibility, and children.

function make(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("aria-") || name === "role" || name === "dir") node.setAttribute(name, value);
    else node[name] = value;
  }
  node.append(...children);
  return node;
}
