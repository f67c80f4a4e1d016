"use strict";
// Tables: sort by a click on a column's head, filter by words and by chosen values.
const order = new Intl.Collator("en", { numeric: true });
for (const block of document.querySelectorAll(".table")) {
  const body = block.querySelector("tbody"), controls = block.querySelector(".controls");
  const rows = [...body.rows], heads = [...block.querySelectorAll("th")];
  const words = controls.querySelector("input"), count = controls.querySelector("output");
  const choices = [...controls.querySelectorAll("select")];
  const texts = rows.map((row) => row.textContent.toLowerCase() + " ");
  const key = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.v === undefined ? cell.textContent : Number(cell.dataset.v);
  };
  const compare = (a, b) => {
    if (a === "" || b === "") return (a === "") - (b === "");
    return typeof a === "number" && typeof b === "number" ? a - b : order.compare(a, b);
  };
  const filter = () => {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    rows.forEach((row, index) => {
      const fits = wanted.every((word) => texts[index].includes(word)) && choices.every((choice) =>
        choice.selectedIndex === 0 || row.cells[choice.dataset.column].textContent === choice.value);
      row.hidden = !fits;
      shown += fits;
    });
    count.value = `${shown} of ${rows.length} rows`;
  };
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.ariaSort ? head.ariaSort === "ascending" : head.classList.contains("n");
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const keys = new Map(rows.map((row) => [row, key(row, column)]));
      const empty = (value) => value === "";
      body.append(...[...rows].sort((a, b) => {
        const [x, y] = [keys.get(a), keys.get(b)];
        return compare(x, y) * (down && !empty(x) && !empty(y) ? -1 : 1);
      }));
    });
  });
  words.addEventListener("input", filter);
  for (const choice of choices) choice.addEventListener("change", filter);
  controls.hidden = false;
  filter();
}
// Figures: the value under the pointer, or the next one by the arrow keys, is written below.
for (const figure of document.querySelectorAll("figure")) {
  const hits = [...figure.querySelectorAll(".hit")], said = figure.querySelector(".said");
  if (hits.length === 0) continue;
  let at = -1;
  const say = (hit) => {
    for (const other of figure.querySelectorAll(".on")) other.classList.remove("on");
    hit.classList.add("on");
    at = hits.indexOf(hit);
    said.value = hit.querySelector("title").textContent;
  };
  figure.addEventListener("pointerover", (event) => event.target.closest(".hit") && say(event.target.closest(".hit")));
  figure.addEventListener("click", (event) => event.target.closest(".hit") && say(event.target.closest(".hit")));
  figure.querySelector(".chart").addEventListener("keydown", (event) => {
    const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (move === undefined) return;
    event.preventDefault();
    say(hits[(at + move + hits.length) % hits.length]);
  });
}
// A link to a card opens it.
const open = () => {
  const card = document.getElementById(location.hash.slice(1));
  if (card instanceof HTMLDetailsElement) { card.open = true; card.scrollIntoView(); }
};
addEventListener("hashchange", open);
open();
