"use strict";
// What every page does: the look, and tables that can be sorted and searched.

const SVG = "http://www.w3.org/2000/svg";
const byId = (id) => document.getElementById(id);

const on = (id, event, act) => byId(id).addEventListener(event, act);

function set(node, attributes) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
}

function make(tag, attributes = {}, ...content) {
  const isShape = ["svg", "path", "line", "rect", "circle", "text"].includes(tag);
  const node = isShape ? document.createElementNS(SVG, tag) : document.createElement(tag);
  set(node, attributes);
  node.append(...content);
  return node;
}

on("look", "change", (event) => {
  if (event.target.value) document.documentElement.dataset.look = event.target.value;
  else delete document.documentElement.dataset.look;
});

function sortTable(table, column, direction) {
  const rows = [...table.tBodies[0].rows];
  const isNumber = table.tHead.rows[0].cells[column].classList.contains("number");
  const valueOf = (row) => row.cells[column].dataset.value;
  const compare = (a, b) => {
    const [x, y] = [valueOf(a), valueOf(b)];
    if (x === undefined || y === undefined) return (x === undefined) - (y === undefined); // last
    const order = isNumber ? Number(x) - Number(y) : x.localeCompare(y, "en", { numeric: true });
    return direction === "ascending" ? order : -order;
  };
  rows.sort(compare);
  table.tBodies[0].append(...rows);
  [...table.tHead.rows[0].cells].forEach((cell, index) => {
    cell.setAttribute("aria-sort", index === column ? direction : "none");
  });
}

// "subset/clip", out of the link to it.
const nameOf = (row) => decodeURIComponent(row.querySelector("a").hash.replace("#clip=", ""));

function startTable(table) {
  [...table.tHead.rows[0].cells].forEach((cell, column) => {
    cell.querySelector("button").addEventListener("click", () => {
      const isUp = cell.getAttribute("aria-sort") === "ascending";
      sortTable(table, column, isUp ? "descending" : "ascending");
    });
  });
  const rows = [...table.tBodies[0].rows];
  const search = byId("search");
  const filter = () => {
    const wanted = search.value.trim().toLowerCase();
    for (const row of rows) {
      row.hidden = !nameOf(row).toLowerCase().includes(wanted);
    }
    byId("found").textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} clips`;
  };
  search.addEventListener("input", filter);
  filter();
}

